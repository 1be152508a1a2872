package runner

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/achilles-blog/achilles/test/e2e/load"
	"github.com/achilles-blog/achilles/test/e2e/report"
)

// examplesKept bounds the violations that are named; all are counted.
const examplesKept = 20

// books compare what the loads have sent and had acknowledged with what the
// databases hold: all that ever wrote there, counting what one of them did.
type books struct {
	run     string
	writers map[string]*load.Writer // by run/source/worker
	// seen counts the sequence numbers that were found, by
	// table/run/source/worker.
	seen   map[string]map[int]int
	result report.Ledger
}

func newBooks(run string, all map[string][]load.Result) *books {
	b := &books{run: run, writers: map[string]*load.Writer{}, seen: map[string]map[int]int{}}
	for wrote, results := range all {
		for _, result := range results {
			for name, w := range result.Writers {
				b.writers[wrote+"/"+result.Source+"/"+name] = w
			}
		}
	}
	return b
}

// querier is a database, or a transaction in it.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// compare reads both databases. Nothing may be writing meanwhile.
func (b *books) compare(ctx context.Context, tags, articles querier) (report.Ledger, error) {
	if err := b.readTags(ctx, tags); err != nil {
		return b.result, err
	}
	if err := b.readArticles(ctx, articles); err != nil {
		return b.result, err
	}
	b.settle()
	err := b.compareCopy(ctx, tags, articles)
	return b.result, err
}

func (b *books) readTags(ctx context.Context, db querier) error {
	return each(ctx, db, "SELECT id, name, state FROM blog_tag WHERE is_deleted = 0", func(rows *sql.Rows) error {
		var id uint64
		var name string
		var state int
		if err := rows.Scan(&id, &name, &state); err != nil {
			return err
		}
		if w, seq := b.find("tag", id, name, func(w *load.Writer) []uint64 { return w.Tags }); w != nil && w.Tags[seq] != 0 && state != 1 {
			b.wrong("tag %d %q has state %d", id, name, state)
		}
		return nil
	})
}

func (b *books) readArticles(ctx context.Context, db querier) error {
	query := "SELECT a.id, a.title, a.`desc`, COUNT(t.id) FROM blog_article a LEFT JOIN blog_article_tag t ON t.article_id = a.id WHERE a.is_deleted = 0 GROUP BY a.id"
	return each(ctx, db, query, func(rows *sql.Rows) error {
		var id uint64
		var title, desc string
		var tagged int
		if err := rows.Scan(&id, &title, &desc, &tagged); err != nil {
			return err
		}
		w, seq := b.find("article", id, title, func(w *load.Writer) []uint64 { return w.Articles })
		if w == nil || w.Articles[seq] == 0 {
			return nil
		}
		if tagged != w.Tagged[seq] {
			b.wrong("article %d %q has %d tags and was acknowledged with %d", id, title, tagged, w.Tagged[seq])
		}
		edits := w.Edits[id]
		if desc != load.Revision(edits.Acknowledged) && desc != load.Revision(edits.Sent) {
			b.wrong("article %d %q is at %q; acknowledged: %+v", id, title, desc, edits)
		}
		return nil
	})
}

// find looks a row up in the ledger; nil when it is in nobody's, or found for
// the second time.
func (b *books) find(kind string, id uint64, name string, ids func(*load.Writer) []uint64) (*load.Writer, int) {
	run, source, worker, seq, ok := load.ParseName(name)
	owner := run + "/" + source + "/" + worker
	w := b.writers[owner]
	if !ok || w == nil || seq >= len(ids(w)) {
		b.result.Strange++
		b.example("%s %d %q was never sent", kind, id, name)
		return nil, 0
	}
	key := kind + "/" + owner
	if b.seen[key] == nil {
		b.seen[key] = map[int]int{}
	}
	b.seen[key][seq]++
	if b.seen[key][seq] > 1 {
		b.result.Doubled++
		b.example("%s %q is there %d times", kind, name, b.seen[key][seq])
		return nil, 0
	}
	acknowledged := ids(w)[seq]
	switch {
	case acknowledged == 0 && run == b.run:
		b.result.Applied++
	case acknowledged == 0:
	case acknowledged != id:
		b.wrong("%s %q has id %d and was acknowledged as %d", kind, name, id, acknowledged)
	}
	return w, seq
}

// settle counts what was acknowledged and was not found.
func (b *books) settle() {
	for worker, w := range b.writers {
		b.settleTable("tag", worker, w.Tags)
		b.settleTable("article", worker, w.Articles)
	}
}

func (b *books) settleTable(kind, worker string, ids []uint64) {
	seen := b.seen[kind+"/"+worker]
	for seq, id := range ids {
		if strings.HasPrefix(worker, b.run+"/") {
			b.result.Sent++
			if id == 0 {
				b.result.Unanswered++
			} else {
				b.result.Acknowledged++
			}
		}
		if id != 0 && seen[seq] == 0 {
			b.result.Lost++
			b.example("%s %d, number %d of %s, was acknowledged and is not there", kind, id, seq, worker)
		}
	}
}

// compareCopy holds the articles' copy of the tags against the tags.
func (b *books) compareCopy(ctx context.Context, tags, articles querier) error {
	original, err := tagRows(ctx, tags, "SELECT id, name, state FROM blog_tag WHERE is_deleted = 0")
	if err != nil {
		return err
	}
	copied, err := tagRows(ctx, articles, "SELECT id, name, state FROM blog_tag_projection")
	if err != nil {
		return err
	}
	for id, row := range original {
		if copied[id] != row {
			b.result.CopyDiffers++
			b.example("tag %d is %s, in the articles' copy %q", id, row, copied[id])
		}
	}
	for id, row := range copied {
		if _, there := original[id]; !there {
			b.result.CopyDiffers++
			b.example("the articles' copy has tag %d, %s, which is not there", id, row)
		}
	}
	return nil
}

func (b *books) wrong(format string, args ...any) {
	b.result.Wrong++
	b.example(format, args...)
}

func (b *books) example(format string, args ...any) {
	if len(b.result.Examples) < examplesKept {
		b.result.Examples = append(b.result.Examples, fmt.Sprintf(format, args...))
	}
}

func tagRows(ctx context.Context, db querier, query string) (map[uint64]string, error) {
	found := map[uint64]string{}
	return found, each(ctx, db, query, func(rows *sql.Rows) error {
		var id uint64
		var name string
		var state int
		err := rows.Scan(&id, &name, &state)
		found[id] = fmt.Sprintf("%s (state %d)", name, state)
		return err
	})
}

func each(ctx context.Context, db querier, query string, row func(*sql.Rows) error) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
