package load

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"time"

	"github.com/achilles-blog/achilles/scaffold/fields"
)

const (
	// minNamed is the minimum size of a field that holds the name of an object.
	minNamed = 64
	// maxObjects is the number of objects of a resource that a worker reads and changes.
	maxObjects = 8
)

// Resource is a resource of a service, as services/services.yaml lists it with its fields.
// Workers create, read, list, change and delete its objects.
type Resource struct {
	Name   string // that of its tables, after their prefix
	Path   string
	Fields []fields.Field
	At     Endpoint
	// Loaded is the largest id that was there before any load.
	Loaded uint64
	// Refers has the resources of other services to which fields refer by an id.
	Refers map[string]Resource
}

// Named returns the field that holds the Name of an object: a unique one or else the longest
// one. ok is false if there is none that is long enough.
func (r Resource) Named() (named fields.Field, ok bool) {
	size := 0
	for _, f := range r.Fields {
		has := f.Size
		if f.Type == fields.Text {
			has = fields.MaxText
		}
		if f.Unique {
			has += fields.MaxText
		}
		if isLine := f.Type == fields.String && f.Size >= minNamed; (isLine || f.Type == fields.Text) && has > size {
			named, ok, size = f, true, has
		}
	}
	return named, ok
}

// Values returns the values of an object with a Name after its n-th edit, as JSON has them.
// The state is left out: objects are enabled. So are ids of other objects.
func (r Resource) Values(name string, n int) map[string]any {
	named, _ := r.Named()
	values := map[string]any{}
	for _, f := range r.Fields {
		_, refers := r.Refers[f.Name]
		switch {
		case f.Type == fields.State || refers:
		case f.Name == named.Name:
			values[f.Name] = name
		case f.Unique:
			values[f.Name] = unique(f, name)
		default:
			values[f.Name] = revision(f, n)
		}
	}
	return values
}

// unique returns a value that differs for each name.
func unique(f fields.Field, name string) any {
	sum := sha256.Sum256([]byte(name))
	if f.Type == fields.Uint64 {
		return binary.BigEndian.Uint64(sum[:]) >> 12 // what a float64 holds exactly
	}
	text := hex.EncodeToString(sum[:])
	return text[:min(f.Size, len(text))]
}

// revision returns a value that differs for each n, as far as its type allows it.
func revision(f fields.Field, n int) any {
	switch f.Type {
	case fields.Uint64:
		return n
	case fields.Int64:
		return -n
	case fields.Bool:
		return n%2 == 1
	case fields.Time:
		return time.Unix(1_700_000_000+int64(n), 0).UTC().Format("2006-01-02T15:04:05.000Z07:00")
	case fields.Text:
		return Revision(n) + "\n" + Revision(n)
	default:
		text := "revision-" + strconv.Itoa(n)
		return text[max(0, len(text)-f.Size):]
	}
}

// Object is the ledger of an object of a Resource.
type Object struct {
	// ID is the acknowledged id, 0 if the creation was not acknowledged.
	ID uint64
	// Edits are the edits of the object.
	Edits Edits
	// Deleting says that the deletion was sent, Deleted that it was acknowledged.
	Deleting, Deleted bool
}

// beginObject adds an object, and returns its sequence number.
func (w *Writer) beginObject(resource string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.Objects == nil {
		w.Objects = map[string][]Object{}
	}
	w.Objects[resource] = append(w.Objects[resource], Object{})
	return len(w.Objects[resource]) - 1
}

func (w *Writer) changeObject(resource string, seq int, change func(*Object)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.Objects[resource][seq])
}

// resourceWorker is a worker that writes one resource.
type resourceWorker struct {
	*worker
	resource Resource
	objects  []written // the last acknowledged ones, the oldest first
	// refers has the writers of the objects to which fields refer. Each creates one.
	refers map[string]*resourceWorker
}

func (w *worker) of(r Resource) *resourceWorker {
	made := &resourceWorker{worker: w, resource: r, refers: map[string]*resourceWorker{}}
	for field, to := range r.Refers {
		made.refers[field] = w.of(to)
	}
	return made
}

// written is an object with its last acknowledged edit.
type written struct {
	id       uint64
	seq      int
	name     string
	revision int
}

// spawnResources starts the workers of each resource.
func (l *Load) spawnResources(ctx context.Context, count int) {
	for _, r := range l.config.Resources {
		l.spawn(ctx, count, r.Name, func(w *worker, ctx context.Context) {
			rw := w.of(r)
			for w.pause(ctx, w.think()) {
				rw.step(ctx)
			}
		})
	}
}

// step sends one request. More than half of the requests create objects.
func (w *resourceWorker) step(ctx context.Context) {
	for _, to := range w.refers {
		if len(to.objects) == 0 {
			to.step(ctx)
			return
		}
	}
	dice := rand.IntN(100)
	switch {
	case dice < 55 || len(w.objects) == 0:
		w.create(ctx)
	case dice < 67:
		w.read(ctx)
	case dice < 77:
		w.list(ctx)
	case dice < 92:
		w.edit(ctx)
	default:
		w.delete(ctx)
	}
}

func (w *resourceWorker) create(ctx context.Context) {
	seq := w.ledger.beginObject(w.resource.Name)
	name := Name(w.load.config.Run, w.load.config.Source, w.name, seq)
	want := w.values(name, 0)
	got, ok := w.post(ctx, w.resource.At, request{method: http.MethodPost, path: w.resource.Path, body: w.encode(want)}, w.resource.Name+"/"+name)
	if !ok || !w.has(got, want) {
		return
	}
	var envelope struct{ Data struct{ ID uint64 } }
	if err := json.Unmarshal(got.body, &envelope); err != nil || envelope.Data.ID == 0 {
		w.load.results.wrong(w.name, got, fmt.Sprintf("201 without an id: %.200s", got.body))
		return
	}
	w.ledger.changeObject(w.resource.Name, seq, func(o *Object) { o.ID = envelope.Data.ID })
	w.objects = append(w.objects, written{id: envelope.Data.ID, seq: seq, name: name})
	w.objects = w.objects[max(0, len(w.objects)-maxObjects):]
}

func (w *resourceWorker) read(ctx context.Context) {
	o := w.objects[rand.IntN(len(w.objects))]
	got, ok := w.exchange(ctx, w.resource.At, request{method: http.MethodGet, path: w.path(o)}, http.StatusOK)
	if ok {
		w.has(got, w.values(o.name, o.revision))
	}
}

// values returns the values of an object with those that refer to others.
func (w *resourceWorker) values(name string, n int) map[string]any {
	values := w.resource.Values(name, n)
	for field, to := range w.refers {
		values[field] = to.objects[0].id
	}
	return values
}

// list reads a page of the newest objects.
func (w *resourceWorker) list(ctx context.Context) {
	query := url.Values{"page_size": {strconv.Itoa(pageSize)}}
	got, ok := w.exchange(ctx, w.resource.At, request{method: http.MethodGet, path: w.resource.Path + "?" + query.Encode()}, http.StatusOK)
	if !ok {
		return
	}
	var page struct{ List []struct{ ID uint64 } }
	if err := json.Unmarshal(got.body, &page); err != nil || len(page.List) == 0 || len(page.List) > pageSize {
		w.load.results.wrong(w.name, got, fmt.Sprintf("want 1 to %d objects, got %.300s", pageSize, got.body))
	}
}

// edit changes an object by PUT or PATCH. If there is an error, the object may have either
// revision, so the worker leaves it.
func (w *resourceWorker) edit(ctx context.Context) {
	i := rand.IntN(len(w.objects))
	o := &w.objects[i]
	next := o.revision + 1
	w.ledger.changeObject(w.resource.Name, o.seq, func(o *Object) { o.Edits.Sent = next })
	method, values := http.MethodPut, w.values(o.name, next)
	sent := values
	if next%2 == 0 {
		method, sent = http.MethodPatch, w.changing(values)
	}
	got, ok := w.exchange(ctx, w.resource.At, request{method: method, path: w.path(*o), body: w.encode(sent)}, http.StatusOK)
	if !ok || !w.has(got, values) {
		w.leave(i)
		return
	}
	w.ledger.changeObject(w.resource.Name, o.seq, func(o *Object) { o.Edits.Acknowledged = next })
	o.revision = next
}

// changing returns the values that edits change, or all if there are none.
func (w *resourceWorker) changing(values map[string]any) map[string]any {
	named, _ := w.resource.Named()
	some := maps.Clone(values)
	for _, f := range w.resource.Fields {
		if f.Unique || f.Name == named.Name {
			delete(some, f.Name)
		}
	}
	if len(some) == 0 {
		return values
	}
	return some
}

// delete deletes the oldest object, after which it must not be found.
func (w *resourceWorker) delete(ctx context.Context) {
	o := w.objects[0]
	w.leave(0)
	w.ledger.changeObject(w.resource.Name, o.seq, func(o *Object) { o.Deleting = true })
	if _, ok := w.exchange(ctx, w.resource.At, request{method: http.MethodDelete, path: w.path(o)}, http.StatusOK); !ok {
		return
	}
	w.ledger.changeObject(w.resource.Name, o.seq, func(o *Object) { o.Deleted = true })
	w.exchange(ctx, w.resource.At, request{method: http.MethodGet, path: w.path(o)}, http.StatusNotFound)
}

// leave makes the worker no longer read and change an object.
func (w *resourceWorker) leave(i int) { w.objects = append(w.objects[:i:i], w.objects[i+1:]...) }

func (w *resourceWorker) path(o written) string {
	return w.resource.Path + "/" + strconv.FormatUint(o.id, 10)
}

// has checks that the data of a response has the values.
func (w *resourceWorker) has(got answer, values map[string]any) bool {
	var envelope struct{ Data map[string]any }
	err := json.Unmarshal(got.body, &envelope)
	var want map[string]any
	if err == nil {
		err = json.Unmarshal(w.encode(values), &want) // numbers as in the response
	}
	for name, value := range want {
		if err == nil && !reflect.DeepEqual(envelope.Data[name], value) {
			err = fmt.Errorf("%s is %v, want %v", name, envelope.Data[name], value)
		}
	}
	if err != nil {
		w.load.results.wrong(w.name, got, fmt.Sprintf("%s: %.300s", err, got.body))
	}
	return err == nil
}
