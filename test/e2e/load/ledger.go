package load

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// Name returns the name of the seq-th tag, or the title of the seq-th article, of a
// worker.
func Name(run, source, worker string, seq int) string {
	return fmt.Sprintf("%s/%s/%s/%d", run, source, worker, seq)
}

// ParseName returns the arguments of Name. ok is false for any other text.
func ParseName(name string) (run, source, worker string, seq int, ok bool) {
	parts := strings.Split(name, "/")
	if len(parts) != 4 {
		return "", "", "", 0, false
	}
	seq, err := strconv.Atoi(parts[3])
	return parts[0], parts[1], parts[2], seq, err == nil && seq >= 0
}

// Revision returns the description of an article after its n-th edit.
func Revision(n int) string { return "revision " + strconv.Itoa(n) }

// Writer is the ledger of a worker. The elements of Tags, Articles and Files are the
// acknowledged ids by sequence number. They are 0 for writes that were sent but not
// acknowledged.
type Writer struct {
	mu       sync.Mutex
	Tags     []uint64
	Articles []uint64
	Files    []uint64
	// Tagged is the number of tags of each article.
	Tagged []int
	// Objects are those of each Resource by sequence number.
	Objects map[string][]Object
	// Edits are the revisions that an article may have, by the id of the article.
	Edits map[uint64]Edits
}

// Edits are the last acknowledged and the last sent edit of an article.
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

func (w *Writer) beginFile() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Files = append(w.Files, 0)
	return len(w.Files) - 1
}

func (w *Writer) ackFile(seq int, id uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Files[seq] = id
}
