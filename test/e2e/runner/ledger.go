package runner

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	"github.com/achilles-blog/achilles/test/e2e/load"
	"github.com/achilles-blog/achilles/test/e2e/report"
)

// maxExamples is the maximum number of examples of differences. All are counted.
const maxExamples = 20

// comparison compares the ledgers of all loads with the databases. It only counts the
// writes of one run, and ignores what was loaded before.
type comparison struct {
	run     string
	loaded  loaded
	writers map[string]*load.Writer // by run/source/worker
	// seen counts the rows by table/run/source/worker and sequence number.
	seen   map[string]map[int]int
	result report.Ledger
}

func newComparison(run string, all map[string][]load.Result, before loaded) *comparison {
	c := &comparison{run: run, loaded: before, writers: map[string]*load.Writer{}, seen: map[string]map[int]int{}}
	for run, results := range all {
		for _, result := range results {
			for name, w := range result.Writers {
				c.writers[run+"/"+result.Source+"/"+name] = w
			}
		}
	}
	return c
}

// querier is a database, or a transaction in it.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// compare reads both databases. There must be no concurrent writes.
func (c *comparison) compare(ctx context.Context, tags, articles querier) (report.Ledger, error) {
	if err := c.readTags(ctx, tags); err != nil {
		return c.result, err
	}
	if err := c.readArticles(ctx, articles); err != nil {
		return c.result, err
	}
	if err := c.readFiles(ctx, articles); err != nil {
		return c.result, err
	}
	c.countWrites()
	if err := c.compareReadModel(ctx, tags, articles); err != nil {
		return c.result, err
	}
	if err := c.compareCounters(ctx, articles); err != nil {
		return c.result, err
	}
	err := c.compareFeed(ctx, articles)
	return c.result, err
}

func (c *comparison) readTags(ctx context.Context, db querier) error {
	query := "SELECT id, name, state FROM blog_tag WHERE is_deleted = 0 AND id > " + strconv.Itoa(c.loaded.tags)
	return each(ctx, db, query, func(rows *sql.Rows) error {
		var id uint64
		var name string
		var state int
		if err := rows.Scan(&id, &name, &state); err != nil {
			return err
		}
		if c.isObject("tag", name) {
			return nil // compareResource compares it
		}
		if w, seq := c.find("tag", id, name, func(w *load.Writer) []uint64 { return w.Tags }); w != nil && w.Tags[seq] != 0 && state != 1 {
			c.altered("tag %d %q has state %d", id, name, state)
		}
		return nil
	})
}

func (c *comparison) readArticles(ctx context.Context, db querier) error {
	query := "SELECT a.id, a.title, a.`desc`, COUNT(t.id) FROM blog_article a LEFT JOIN blog_article_tag t ON t.article_id = a.id " +
		"WHERE a.is_deleted = 0 AND a.id > " + strconv.Itoa(c.loaded.articles) + " GROUP BY a.id"
	return each(ctx, db, query, func(rows *sql.Rows) error {
		var id uint64
		var title, desc string
		var tagged int
		if err := rows.Scan(&id, &title, &desc, &tagged); err != nil {
			return err
		}
		w, seq := c.find("article", id, title, func(w *load.Writer) []uint64 { return w.Articles })
		if w == nil || w.Articles[seq] == 0 {
			return nil
		}
		if tagged != w.Tagged[seq] {
			c.altered("article %d %q has %d tags, but was acknowledged with %d", id, title, tagged, w.Tagged[seq])
		}
		edits := w.Edits[id]
		if desc != load.Revision(edits.Acknowledged) && desc != load.Revision(edits.Sent) {
			c.altered("article %d %q has the description %q, acknowledged: %+v", id, title, desc, edits)
		}
		return nil
	})
}

// readFiles compares the files with those that were uploaded. Their bytes are compared by the
// digest; the load compares those that are downloaded.
func (c *comparison) readFiles(ctx context.Context, db querier) error {
	return each(ctx, db, "SELECT id, name, sha256 FROM blog_file", func(rows *sql.Rows) error {
		var id uint64
		var file string
		var digest []byte
		if err := rows.Scan(&id, &file, &digest); err != nil {
			return err
		}
		name := load.ParseFileName(strings.TrimSuffix(file, ".txt"))
		w, _ := c.find("file", id, name, func(w *load.Writer) []uint64 { return w.Files })
		if want := sha256.Sum256(load.FileContent(name)); w != nil && !bytes.Equal(digest, want[:]) {
			c.altered("file %d %q has other bytes than were sent", id, file)
		}
		return nil
	})
}

// isObject reports whether a name is that of an object of a load.Resource.
func (c *comparison) isObject(resource, name string) bool {
	run, source, worker, _, ok := load.ParseName(name)
	w := c.writers[run+"/"+source+"/"+worker]
	return ok && w != nil && len(w.Objects[resource]) > 0
}

// find returns the ledger and the sequence number of a row. It returns nil if the row is
// in no ledger or is a duplicate.
func (c *comparison) find(kind string, id uint64, name string, ids func(*load.Writer) []uint64) (*load.Writer, int) {
	run, source, worker, seq, ok := load.ParseName(name)
	owner := run + "/" + source + "/" + worker
	w := c.writers[owner]
	if !ok || w == nil || seq >= len(ids(w)) {
		c.result.Unexpected++
		c.example("%s %d %q was never sent", kind, id, name)
		return nil, 0
	}
	key := kind + "/" + owner
	if c.seen[key] == nil {
		c.seen[key] = map[int]int{}
	}
	c.seen[key][seq]++
	if c.seen[key][seq] > 1 {
		c.result.Duplicated++
		c.example("%s %q exists %d times", kind, name, c.seen[key][seq])
		return nil, 0
	}
	acknowledged := ids(w)[seq]
	switch {
	case acknowledged == 0 && run == c.run:
		c.result.Applied++
	case acknowledged == 0:
	case acknowledged != id:
		c.altered("%s %q has the id %d, but was acknowledged with %d", kind, name, id, acknowledged)
	}
	return w, seq
}

// countWrites counts the writes of the run, and lost writes.
func (c *comparison) countWrites() {
	for worker, w := range c.writers {
		c.countTable("tag", worker, w.Tags)
		c.countTable("article", worker, w.Articles)
		c.countTable("file", worker, w.Files)
	}
}

func (c *comparison) countTable(kind, worker string, ids []uint64) {
	seen := c.seen[kind+"/"+worker]
	for seq, id := range ids {
		if strings.HasPrefix(worker, c.run+"/") {
			c.result.Sent++
			if id == 0 {
				c.result.Unanswered++
			} else {
				c.result.Acknowledged++
			}
		}
		if id != 0 && seen[seq] == 0 {
			c.result.Lost++
			c.example("%s %d, number %d of %s, was acknowledged, but does not exist", kind, id, seq, worker)
		}
	}
}

// compareReadModel compares the article service's read model with the tags.
func (c *comparison) compareReadModel(ctx context.Context, tags, articles querier) error {
	original, err := tagRows(ctx, tags, "SELECT id, name, state FROM blog_tag WHERE is_deleted = 0")
	if err != nil {
		return err
	}
	readModel, err := tagRows(ctx, articles, "SELECT id, name, state FROM blog_tag_projection")
	if err != nil {
		return err
	}
	for id, row := range original {
		if readModel[id] != row {
			c.result.ReadModelDiffers++
			c.example("tag %d is %s, in the read model %q", id, row, readModel[id])
		}
	}
	for id, row := range readModel {
		if _, exists := original[id]; !exists {
			c.result.ReadModelDiffers++
			c.example("the read model has tag %d, %s, which does not exist", id, row)
		}
	}
	return nil
}

// compareCounters compares the counters of articles, of all and by tag, with the articles.
func (c *comparison) compareCounters(ctx context.Context, articles querier) error {
	query := `SELECT tag_id, state, SUM(counted) AS counted, SUM(there) AS there FROM (
			SELECT tag_id, state, value AS counted, 0 AS there FROM blog_article_count
			UNION ALL SELECT 0, state, 0, 1 FROM blog_article WHERE is_deleted = 0
			UNION ALL SELECT t.tag_id, a.state, 0, 1 FROM blog_article_tag t JOIN blog_article a ON a.id = t.article_id WHERE a.is_deleted = 0
		) AS both_counts GROUP BY tag_id, state HAVING counted <> there`
	return each(ctx, articles, query, func(rows *sql.Rows) error {
		var tag, state, counted, there int
		if err := rows.Scan(&tag, &state, &counted, &there); err != nil {
			return err
		}
		c.result.CountersDiffer++
		c.example("the counter of tag %d and state %d is %d, want %d", tag, state, counted, there)
		return nil
	})
}

// compareFeed compares the articles' feed of changes with their revisions: each change adds
// one entry, which is in the outbox until the feed is read.
func (c *comparison) compareFeed(ctx context.Context, articles querier) error {
	query := `SELECT a.id, a.revision, COALESCE(f.entries, 0) FROM blog_article a LEFT JOIN (
			SELECT article_id, COUNT(*) AS entries FROM (
				SELECT article_id FROM blog_article_change UNION ALL SELECT article_id FROM blog_article_outbox
			) AS all_entries GROUP BY article_id
		) AS f ON f.article_id = a.id WHERE a.is_deleted = 0 AND a.id > ` + strconv.Itoa(c.loaded.articles) + ` AND a.revision <> COALESCE(f.entries, 0)`
	if err := each(ctx, articles, query, func(rows *sql.Rows) error {
		var id, revision, entries int
		if err := rows.Scan(&id, &revision, &entries); err != nil {
			return err
		}
		c.result.FeedDiffers++
		c.example("article %d has the revision %d and %d changes in the feed", id, revision, entries)
		return nil
	}); err != nil {
		return err
	}
	query = `SELECT value, (SELECT COUNT(*) FROM blog_article_change) FROM blog_article_sequence`
	return each(ctx, articles, query, func(rows *sql.Rows) error {
		var last, entries int
		if err := rows.Scan(&last, &entries); err != nil {
			return err
		}
		if last != entries {
			c.result.FeedDiffers++
			c.example("the feed has %d changes, and the last one has the number %d", entries, last)
		}
		return nil
	})
}

func (c *comparison) altered(format string, args ...any) {
	c.result.Altered++
	c.example(format, args...)
}

func (c *comparison) example(format string, args ...any) {
	if len(c.result.Examples) < maxExamples {
		c.result.Examples = append(c.result.Examples, fmt.Sprintf(format, args...))
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
