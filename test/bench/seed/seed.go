// Package seed loads the articles of package corpus into the database of the article
// service. It has all that the loading knows of the schema.
package seed

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/achilles-blog/achilles/test/bench/corpus"
)

// The tables with the articles and with their tags.
const (
	ArticleTable = "blog_article"
	tagTable     = "blog_article_tag"
)

const (
	batch   = 500 // articles of an INSERT
	inserts = 4   // at once
)

var (
	articleColumns = []string{"id", "title", "desc", "cover_image_url", "content", "state", "created_at", "created_by", "updated_at", "updated_by", "published_at"}
	tagColumns     = []string{"article_id", "tag_id", "article_state", "created_at", "updated_at", "published_at"}
)

// Articles inserts the articles 1 to n, whose tags must be there. What the service counts
// of them is computed by its command recount.
func Articles(ctx context.Context, db *sql.DB, n int) error {
	articles, err := newInsert(ctx, db, ArticleTable, articleColumns)
	if err != nil {
		return err
	}
	tags, err := newInsert(ctx, db, tagTable, tagColumns)
	if err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(inserts)
	for first := 1; first <= n; first += batch {
		group.Go(func() error { return load(groupCtx, db, articles, tags, first, min(first+batch-1, n)) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, table := range []string{ArticleTable, tagTable} {
		if _, err := db.ExecContext(ctx, "ANALYZE TABLE "+table); err != nil {
			return err
		}
	}
	return nil
}

// load inserts the articles first to last.
func load(ctx context.Context, db *sql.DB, articles, tags insert, first, last int) error {
	var articleRows, tagRows []any
	for id := first; id <= last; id++ {
		a := corpus.New(uint64(id)) // #nosec G115 -- positive
		at := time.Date(2026, 1, 1, 0, 0, id, 0, time.UTC)
		articleRows = append(articleRows, a.ID, a.Title, a.Desc, a.CoverImage, a.Content, 1, at, "bench", at, "bench", at)
		for _, tag := range a.TagIDs {
			tagRows = append(tagRows, a.ID, tag, 1, at, at, at)
		}
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // without effect after the commit
	if err := articles.exec(ctx, tx, articleRows); err != nil {
		return err
	}
	if err := tags.exec(ctx, tx, tagRows); err != nil {
		return err
	}
	return tx.Commit()
}

// insert is an INSERT of rows with columns and of the zero value of other columns
// that have no default.
type insert struct {
	head, row string
	columns   int
}

func newInsert(ctx context.Context, db *sql.DB, table string, columns []string) (i insert, err error) {
	rows, err := db.QueryContext(ctx, `SELECT column_name, numeric_precision IS NOT NULL FROM information_schema.columns
		WHERE table_schema = DATABASE() AND table_name = ? AND is_nullable = 'NO' AND column_default IS NULL
		AND extra NOT LIKE '%auto_increment%' AND extra NOT LIKE '%GENERATED%'`, table)
	if err != nil {
		return insert{}, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	names, values := slices.Clone(columns), slices.Repeat([]string{"?"}, len(columns))
	for rows.Next() {
		var name string
		var number bool
		if err := rows.Scan(&name, &number); err != nil {
			return insert{}, err
		}
		if !slices.Contains(columns, name) {
			names, values = append(names, name), append(values, map[bool]string{true: "0", false: "''"}[number])
		}
	}
	return insert{
		head:    fmt.Sprintf("INSERT INTO %s (`%s`) VALUES ", table, strings.Join(names, "`, `")),
		row:     "(" + strings.Join(values, ", ") + ")",
		columns: len(columns),
	}, rows.Err()
}

func (i insert) exec(ctx context.Context, tx *sql.Tx, values []any) error {
	rows := slices.Repeat([]string{i.row}, len(values)/i.columns)
	_, err := tx.ExecContext(ctx, i.head+strings.Join(rows, ", "), values...)
	return err
}
