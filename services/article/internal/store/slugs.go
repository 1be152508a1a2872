package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"maps"
	"slices"
	"strconv"
	"strings"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/batch"
	"github.com/achilles-blog/achilles/pkg/coalesce"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/slug"
)

// GetBySlug implements article.Store. Calls that wait at the same time share a query.
func (s *Store) GetBySlug(ctx context.Context, slug string) (*article.Shared, error) {
	return found(ctx, s.bySlug, slug)
}

// GetBySlugWithoutContent implements article.Store. Calls that wait at the same time share
// a query.
func (s *Store) GetBySlugWithoutContent(ctx context.Context, slug string) (*article.Shared, error) {
	return found(ctx, s.bySlugWithoutContent, slug)
}

// sharedBySlug returns a group that reads articles by their slugs, with a content expression.
func (s *Store) sharedBySlug(content string) *coalesce.Group[string, *article.Shared] {
	return coalesce.New(coalesce.Config{Timeout: s.db.Timeout()}, func(ctx context.Context, slugs []string) (map[string]*article.Shared, error) {
		return s.readBySlug(ctx, content, slugs)
	})
}

// readBySlug is like read, for current and former slugs.
func (s *Store) readBySlug(ctx context.Context, content string, slugs []string) (map[string]*article.Shared, error) {
	marks, values := database.In(slugs)
	query := "SELECT s.slug, " + s.readColumns(s.now()) + content + ", " + s.tagsOf("a") + " FROM " + s.db.Table("article_slug") + " AS s JOIN " +
		s.db.Table("article") + " AS a ON a.id = s.article_id WHERE s.slug IN (" + marks + ") AND a.is_deleted = 0"
	articles := make(map[string]*article.Shared, len(slugs))
	var row readRow // of each article in turn
	var slug string
	columns := append([]any{&slug}, row.columns()...)
	return articles, s.db.Query(ctx, query, values, func(rows *sql.Rows) error {
		if err := rows.Scan(columns...); err != nil {
			return err
		}
		found, err := row.shared()
		articles[slug] = found
		return err
	})
}

// firstSlug returns the slug that a new article is inserted with: the one that it
// probably gets.
func firstSlug(draft article.Draft) string {
	if draft.Slug != nil && *draft.Slug != "" {
		return *draft.Slug
	}
	return slug.Make(*draft.Title)
}

// nameNew claims the slugs with which articles were just inserted. An article whose slug was
// not sent by a client, and is taken, gets another one.
func (s *Store) nameNew(tx *gorm.DB, rows []articleRow, drafts []article.Draft) error {
	claimed, err := s.claimAll(tx, rows)
	if err != nil {
		return err
	}
	for i := range rows {
		if claimed[rows[i].ID] {
			continue
		}
		if err := s.nameOther(tx, &rows[i], drafts[i].Slug); err != nil {
			return batch.Errors{{Index: i, Err: err}}
		}
	}
	return nil
}

// nameOther is nameNew for an article whose slug leads to another one, or is "".
func (s *Store) nameOther(tx *gorm.DB, row *articleRow, sent *string) (err error) {
	if sent != nil && *sent != "" {
		return s.takeFormer(tx, row.ID, *sent)
	}
	names := madeSlugs(row.ID, row.Slug)
	if row.Slug != "" {
		names = names[1:]
	}
	if row.Slug, err = s.claimFirst(tx, row.ID, names, ""); err != nil {
		return err
	}
	_, err = s.db.Exec(tx, "UPDATE "+s.db.Table("article")+" SET slug = ? WHERE id = ?", row.Slug, row.ID)
	return err
}

// claimAll claims the slugs of new articles, as far as they lead to no article, and returns
// the ids of the articles that have theirs. It locks slugs in their order, which prevents
// deadlocks.
func (s *Store) claimAll(tx *gorm.DB, rows []articleRow) (claimed map[uint64]bool, err error) {
	owners := map[string]uint64{}
	for _, row := range rows {
		if _, twice := owners[row.Slug]; row.Slug != "" && !twice {
			owners[row.Slug] = row.ID
		}
	}
	if len(owners) == 0 {
		return nil, nil
	}
	var values []any
	names := slices.Sorted(maps.Keys(owners))
	for _, name := range names {
		values = append(values, name, owners[name])
	}
	done, err := s.db.Exec(tx, s.insertIgnore()+s.db.Table("article_slug")+" (slug, article_id) VALUES (?, ?)"+strings.Repeat(", (?, ?)", len(names)-1), values...)
	if err != nil {
		return nil, err
	}
	n, err := done.RowsAffected()
	if err != nil {
		return nil, err
	}
	claimed = make(map[uint64]bool, len(rows))
	switch {
	case n == int64(len(names)):
		for _, id := range owners {
			claimed[id] = true
		}
	case n > 0:
		marks, values := database.In(names)
		err = s.db.QueryIn(tx, "SELECT slug, article_id FROM "+s.db.Table("article_slug")+" WHERE slug IN ("+marks+")", values, func(rows *sql.Rows) error {
			var name string
			var id uint64
			err := rows.Scan(&name, &id)
			claimed[id] = claimed[id] || owners[name] == id
			return err
		})
	}
	return claimed, err
}

// rename gives an article the slug that a client has sent, or if that is "", one that is
// made from its title. It changes row.Slug, and returns the columns that have changed.
func (s *Store) rename(tx *gorm.DB, row *articleRow, sent *string) (columns []string, err error) {
	if sent == nil || *sent == row.Slug && *sent != "" {
		return nil, nil
	}
	former, name := row.Slug, *sent
	if name == "" {
		name, err = s.claimMade(tx, row.ID, slug.Make(row.Title), former)
	} else {
		err = s.take(tx, row.ID, name)
	}
	if err != nil || name == former {
		return nil, err
	}
	row.Slug = name
	return []string{"slug"}, s.retire(tx, row, former)
}

// claimMade claims a slug that is made for an article that has the slug current, and returns
// it; see madeSlugs.
func (s *Store) claimMade(tx *gorm.DB, id uint64, title, current string) (string, error) {
	return s.claimFirst(tx, id, madeSlugs(id, title), current)
}

// madeSlugs returns the slugs that an article may get, the best first: title, which is the
// slug of its title, and that with the article's id if it leads to another article, also as a
// former slug. title is "" if the title has no letters. A client that guessed the id may have
// taken the slug with the id; then a random word follows.
func madeSlugs(id uint64, title string) []string {
	number := strconv.FormatUint(id, 10)
	random := number + "-" + strings.ToLower(rand.Text()[:12])
	if title == "" {
		return []string{"article-" + number, "article-" + random}
	}
	return []string{title, slug.WithSuffix(title, number), slug.WithSuffix(title, random)}
}

// claimFirst claims the first of the slugs that leads to no other article, for an article
// that has the slug current, and returns it.
func (s *Store) claimFirst(tx *gorm.DB, id uint64, names []string, current string) (string, error) {
	for _, name := range names {
		if name == current {
			return name, nil
		}
		done, err := s.claim(tx, id, name)
		if err == nil && !done && current != "" { // it may be a former one of the article itself
			done, err = s.reuse(tx, id, name, " AND article_id = ?", id)
		}
		if err != nil || done {
			return name, err
		}
	}
	return "", database.ErrRetry
}

// take claims the slug that a client has sent, also from an article that had it formerly.
func (s *Store) take(tx *gorm.DB, id uint64, name string) error {
	if done, err := s.claim(tx, id, name); err != nil || done {
		return err
	}
	return s.takeFormer(tx, id, name)
}

// takeFormer claims a slug from an article that had it formerly.
func (s *Store) takeFormer(tx *gorm.DB, id uint64, name string) error {
	done, err := s.reuse(tx, id, name, "")
	if err == nil && !done {
		err = article.SlugTaken(name)
	}
	return err
}

// claim claims a slug that leads to no article, and reports whether that was so.
func (s *Store) claim(tx *gorm.DB, id uint64, name string) (done bool, err error) {
	return one(s.db.Exec(tx, s.insertIgnore()+s.db.Table("article_slug")+" (slug, article_id) VALUES (?, ?)", name, id))
}

// reuse claims a former slug that meets a condition, and reports whether there was one. The
// slug must exist: under REPEATABLE READ, others could not insert slugs near it otherwise.
func (s *Store) reuse(tx *gorm.DB, id uint64, name, condition string, values ...any) (done bool, err error) {
	return one(s.db.Exec(tx, "UPDATE "+s.db.Table("article_slug")+" SET article_id = ?, retired = 0 WHERE slug = ? AND retired > 0"+condition,
		append([]any{id, name}, values...)...))
}

// one reports whether a statement has changed a row.
func one(result sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// retire makes a slug of the article a former one, and removes the oldest former ones
// beyond the maximum.
func (s *Store) retire(tx *gorm.DB, row *articleRow, former string) error {
	if former == "" {
		return nil
	}
	table := s.db.Table("article_slug")
	if _, err := s.db.Exec(tx, "UPDATE "+table+" SET retired = ? WHERE slug = ?", row.Revision+1, former); err != nil {
		return err
	}
	slugs, err := s.slugsOf(tx, row.ID)
	if err != nil || len(slugs) <= article.MaxFormerSlugs+1 {
		return err
	}
	// The first one is the current one.
	return s.release(tx, row.ID, slugs[1:len(slugs)-article.MaxFormerSlugs])
}

// slugsOf returns the slugs of an article: the current one and the former ones, the oldest
// first. It doesn't lock them.
func (s *Store) slugsOf(tx *gorm.DB, id uint64) (slugs []string, err error) {
	err = s.db.QueryIn(tx, "SELECT slug FROM "+s.db.Table("article_slug")+" WHERE article_id = ? ORDER BY retired, slug", []any{id}, func(rows *sql.Rows) error {
		slugs = append(slugs, "")
		return rows.Scan(&slugs[len(slugs)-1])
	})
	return slugs, err
}

// release removes slugs of an article by their primary key: to remove them by the article,
// a server may lock the gaps beside them, into which articles are being written.
func (s *Store) release(tx *gorm.DB, id uint64, slugs []string) error {
	if len(slugs) == 0 {
		return nil
	}
	values := make([]any, 0, len(slugs)+1)
	for _, name := range slugs {
		values = append(values, name)
	}
	_, err := s.db.Exec(tx, "DELETE FROM "+s.db.Table("article_slug")+" WHERE slug IN (?"+strings.Repeat(", ?", len(slugs)-1)+") AND article_id = ?", append(values, id)...)
	return err
}

// releaseAll removes all slugs of an article.
func (s *Store) releaseAll(tx *gorm.DB, id uint64) error {
	slugs, err := s.slugsOf(tx, id)
	if err != nil {
		return err
	}
	return s.release(tx, id, slugs)
}
