package load

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// Name is the name of the tag, or the title of the article, that a worker
// sends as its seq-th.
func Name(run, source, worker string, seq int) string {
	return fmt.Sprintf("%s/%s/%s/%d", run, source, worker, seq)
}

// ParseName returns what Name was given, and false for any other text.
func ParseName(name string) (run, source, worker string, seq int, ok bool) {
	parts := strings.Split(name, "/")
	if len(parts) != 4 {
		return "", "", "", 0, false
	}
	seq, err := strconv.Atoi(parts[3])
	return parts[0], parts[1], parts[2], seq, err == nil && seq >= 0
}

// Revision is the description of an article after its n-th edit.
func Revision(n int) string { return "revision " + strconv.Itoa(n) }

// Writer is the ledger of one worker. Tags and Articles hold, at the index of
// the sequence number, the id with which the write was acknowledged; 0 for one
// that was sent and not acknowledged.
type Writer struct {
	mu       sync.Mutex
	Tags     []uint64
	Articles []uint64
	// Tagged is how many tags an article was sent with.
	Tagged []int
	// Edits holds, by the id of an article, the revisions that its description
	// may have: the last acknowledged one, and later ones that were sent.
	Edits map[uint64]Edits
}

// Edits are the edits of one article.
type Edits struct{ Acknowledged, Sent int }

func (w *Writer) beginTag() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Tags = append(w.Tags, 0)
	return len(w.Tags) - 1
}

func (w *Writer) ackTag(seq int, id uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Tags[seq] = id
}

func (w *Writer) beginArticle() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Articles = append(w.Articles, 0)
	w.Tagged = append(w.Tagged, 0)
	return len(w.Articles) - 1
}

func (w *Writer) ackArticle(seq int, id uint64, tags int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Articles[seq], w.Tagged[seq] = id, tags
}

func (w *Writer) beginEdit(id uint64, revision int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.Edits == nil {
		w.Edits = map[uint64]Edits{}
	}
	w.Edits[id] = Edits{Acknowledged: w.Edits[id].Acknowledged, Sent: revision}
}

func (w *Writer) ackEdit(id uint64, revision int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Edits[id] = Edits{Acknowledged: revision, Sent: revision}
}
