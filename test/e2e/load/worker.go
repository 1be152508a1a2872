package load

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

const (
	// maxTags is the maximum number of tags of an article.
	maxTags = 3
	// nudgeSpread is the time after a nudge in which idle connections are used
	// and slow uploads begin. It covers the whole shutdown of a pod.
	nudgeSpread = 16 * time.Second
	// maxIdleTime is the maximum idle time of a connection without a nudge.
	maxIdleTime = 25 * time.Second
	// repeatPause is the mean pause before a request is repeated.
	repeatPause = 300 * time.Millisecond
	// minRepeatTime is the minimum time for which a request is repeated, even if
	// the load is stopped, so that the result of every write is known.
	minRepeatTime = 20 * time.Second
)

// worker writes and reads its own objects, one request at a time.
type worker struct {
	load       *Load
	name       string
	transport  transport
	uploadTime time.Duration // see request
	fresh      bool          // see Mix

	ledger  *Writer
	tags    []object // the last acknowledged ones
	article object
	changes string // the offset of the changes that were read
}

type object struct {
	id         uint64
	name, slug string
	// revision is the last acknowledged revision, tags the number of tags.
	revision, tags int
}

func newWorker(l *Load, name string, t transport) *worker {
	return &worker{load: l, name: name, transport: t, ledger: l.results.writer(name)}
}

func (w *worker) reused(ctx context.Context) {
	for w.pause(ctx, w.think()) {
		w.step(ctx)
	}
}

func (w *worker) freshConnections(ctx context.Context) {
	w.fresh = true
	w.reused(ctx)
}

func (w *worker) idle(ctx context.Context) {
	for w.await(ctx, maxIdleTime) {
		w.step(ctx)
	}
}

// silent opens connections and sends the first byte on one of them later.
func (w *worker) silent(ctx context.Context, ahead *wires) {
	w.fresh = true
	for ctx.Err() == nil {
		w.openAhead(ctx, ahead, w.load.config.Tags)
		w.openAhead(ctx, ahead, w.load.config.Articles)
		if w.pause(ctx, silentTime(w.load.config.HeaderTimeout)) {
			w.step(ctx)
		}
	}
}

func (w *worker) openAhead(ctx context.Context, ahead *wires, to Endpoint) {
	began := time.Now()
	if err := ahead.openAhead(ctx, to.Addr); err != nil {
		w.load.results.record(w.name, request{method: http.MethodConnect, path: to.Addr}, answer{began: began}, err)
	}
}

// silentTime returns how long a connection is silent before its first byte: every third
// time as long as the timeout of a header, which must begin with that byte.
func silentTime(headerTimeout time.Duration) time.Duration {
	if rand.IntN(3) == 0 {
		return headerTimeout*99/100 + rand.N(headerTimeout/50+1)
	}
	return headerTimeout/10 + rand.N(4*headerTimeout+1)
}

func (w *worker) slow(ctx context.Context) {
	for w.pause(ctx, w.think()) {
		w.uploadTime = rand.N(2 * time.Second)
		w.writeArticle(ctx)
	}
}

func (w *worker) slowest(ctx context.Context) {
	for w.await(ctx, time.Hour) {
		w.uploadTime = w.load.config.MaxDuration*3/5 + rand.N(w.load.config.MaxDuration/5)
		w.writeArticle(ctx)
	}
}

func (w *worker) busy(ctx context.Context) {
	for w.pause(ctx, 0) {
		if len(w.tags) == 0 {
			w.writeTag(ctx)
		} else {
			w.readTag(ctx)
		}
	}
}

func (w *worker) think() time.Duration { return rand.N(2*w.load.config.Think + 1) }

func (w *worker) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// await waits for a random time up to limit, or for a random time after the next nudge.
func (w *worker) await(ctx context.Context, limit time.Duration) bool {
	timer := time.NewTimer(rand.N(limit))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-w.load.nudged():
		return w.pause(ctx, rand.N(nudgeSpread))
	case <-ctx.Done():
		return false
	}
}

// step sends one request. More than half of the requests create objects.
func (w *worker) step(ctx context.Context) {
	dice := rand.IntN(100)
	switch {
	case dice < 24 || len(w.tags) == 0:
		w.writeTag(ctx)
	case dice < 58 || w.article.id == 0:
		w.writeArticle(ctx)
	case dice < 68:
		w.readArticle(ctx)
	case dice < 76:
		w.readTag(ctx)
	case dice < 84:
		w.listArticles(ctx)
	case dice < 91:
		w.find(ctx)
	default:
		w.editArticle(ctx)
	}
}

func (w *worker) writeTag(ctx context.Context) {
	seq := w.ledger.beginTag()
	name := Name(w.load.config.Run, w.load.config.Source, w.name, seq)
	created, ok := w.create(ctx, w.load.config.Tags, "/api/v1/tags", name, map[string]any{"name": name})
	if !ok {
		return
	}
	w.ledger.ackTag(seq, created.id)
	w.tags = append(w.tags, created)
	if len(w.tags) > maxTags {
		w.tags = w.tags[1:]
	}
}

func (w *worker) writeArticle(ctx context.Context) {
	ids := make([]uint64, 0, len(w.tags))
	for _, t := range w.tags {
		ids = append(ids, t.id)
	}
	seq := w.ledger.beginArticle()
	title := Name(w.load.config.Run, w.load.config.Source, w.name, seq)
	created, ok := w.create(ctx, w.load.config.Articles, "/api/v1/articles", title,
		map[string]any{"title": title, "desc": Revision(0), "content": strings.Repeat("Sing, O goddess. ", 20), "tag_ids": ids})
	if !ok {
		return
	}
	w.ledger.ackArticle(seq, created.id, len(ids))
	w.article, w.article.tags = created, len(ids)
}

func (w *worker) editArticle(ctx context.Context) {
	next := w.article.revision + 1
	w.ledger.beginEdit(w.article.id, next)
	method, changes := http.MethodPut, map[string]any{"title": w.article.name, "desc": Revision(next)}
	if next%2 == 0 {
		method, changes = http.MethodPatch, map[string]any{"desc": Revision(next)}
	}
	got, ok := w.exchange(ctx, w.load.config.Articles, request{method: method, path: fmt.Sprintf("/api/v1/articles/%d", w.article.id), body: w.encode(changes)}, http.StatusOK)
	if ok && w.expect(got, "desc", Revision(next)) {
		w.ledger.ackEdit(w.article.id, next)
		w.article.revision = next
	}
}

func (w *worker) readArticle(ctx context.Context) {
	if w.readsLoaded() {
		w.readLoaded(ctx)
		return
	}
	path := fmt.Sprintf("/api/v1/articles/%d", w.article.id)
	if got, ok := w.exchange(ctx, w.load.config.Articles, request{method: http.MethodGet, path: path}, http.StatusOK); ok {
		w.expect(got, "title", w.article.name)
	}
}

func (w *worker) readTag(ctx context.Context) {
	t := w.tags[rand.IntN(len(w.tags))]
	path := fmt.Sprintf("/api/v1/tags/%d", t.id)
	if got, ok := w.exchange(ctx, w.load.config.Tags, request{method: http.MethodGet, path: path}, http.StatusOK); ok {
		w.expect(got, "name", t.name)
	}
}

func (w *worker) listArticles(ctx context.Context) {
	if w.readsLoaded() {
		w.listLoaded(ctx)
		return
	}
	t := w.tags[len(w.tags)-1]
	path := fmt.Sprintf("/api/v1/articles?tag_id=%d", t.id)
	if got, ok := w.exchange(ctx, w.load.config.Articles, request{method: http.MethodGet, path: path}, http.StatusOK); ok {
		w.expect(got, "list", "")
	}
}

// create creates an object and returns what was acknowledged. The name is also the
// Idempotency-Key.
func (w *worker) create(ctx context.Context, to Endpoint, path, name string, body map[string]any) (object, bool) {
	got, ok := w.post(ctx, to, request{method: http.MethodPost, path: path, body: w.encode(body), uploadTime: w.uploadTime}, name)
	if !ok {
		return object{}, false
	}
	var envelope struct {
		Data struct {
			ID   uint64
			Slug string
		}
	}
	if err := json.Unmarshal(got.body, &envelope); err != nil || envelope.Data.ID == 0 {
		w.load.results.wrong(w.name, got, fmt.Sprintf("201 without an id: %.200s", got.body))
		return object{}, false
	}
	return object{id: envelope.Data.ID, name: name, slug: envelope.Data.Slug}, true
}

// post sends a request that creates something, with a key if requests are repeated, and
// repeats it then. ok reports whether the creation was acknowledged.
func (w *worker) post(ctx context.Context, to Endpoint, sent request, key string) (got answer, ok bool) {
	if w.load.config.Repeat {
		sent.key = key
	}
	began := time.Now()
	got, ok = w.exchange(ctx, to, sent, http.StatusCreated)
	for !ok && sent.key != "" && repeatable(got.status) && (ctx.Err() == nil || time.Since(began) < minRepeatTime) {
		time.Sleep(repeatPause/2 + rand.N(repeatPause))
		sent.again = true
		got, ok = w.exchange(ctx, to, sent, http.StatusCreated)
	}
	return got, ok
}

// repeatable reports whether a request with this status, 0 for none, may succeed if it
// is repeated.
func repeatable(status int) bool {
	switch status {
	case 0, http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return true
	}
	return status >= http.StatusInternalServerError
}

func (w *worker) encode(body map[string]any) []byte {
	encoded, err := json.Marshal(body)
	if err != nil {
		panic(err) // maps of strings and numbers
	}
	return encoded
}

// exchange sends a request and records the result.
func (w *worker) exchange(ctx context.Context, to Endpoint, r request, want int) (answer, bool) {
	r.last = w.fresh
	if !w.fresh || r.method != http.MethodGet {
		r.token = w.load.currentToken()
	}
	got, err := w.transport.send(ctx, to, r)
	switch {
	case err == nil && r.method != http.MethodGet && got.readOnly() && w.load.mayReject(got.began):
		err = errReadOnly
	case err == nil && got.status != want:
		err = &statusError{status: got.status, body: fmt.Sprintf("%.300s", got.body)}
	}
	w.load.results.record(w.name, r, got, err)
	return got, err == nil
}

// readOnly reports whether a write was rejected because of read-only mode.
func (a *answer) readOnly() bool {
	var problem struct{ Code errcode.Code }
	return a.status == http.StatusServiceUnavailable && json.Unmarshal(a.body, &problem) == nil && problem.Code == errcode.ReadOnly && a.retryAfter != ""
}

// expect checks that the data of a response has a field with a value or, if field is
// "list", that there is a list.
func (w *worker) expect(got answer, field, value string) bool {
	var envelope struct {
		Data map[string]any
		List []any
	}
	err := json.Unmarshal(got.body, &envelope)
	switch {
	case err == nil && field == "list" && envelope.List != nil:
		return true
	case err == nil && field != "list" && envelope.Data[field] == value:
		return true
	}
	w.load.results.wrong(w.name, got, fmt.Sprintf("want %s %q, got %.300s", field, value, got.body))
	return false
}
