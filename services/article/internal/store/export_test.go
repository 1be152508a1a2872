package store

import (
	"context"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// Waiting returns the number of lists that wait for the database.
func (s *Store) Waiting() int { return s.lists.Waiting() }

// WaitingReads returns the number of single reads that wait for the database.
func (s *Store) WaitingReads() int { return s.articles.Waiting() }

// ParseTags is parseTags.
func ParseTags(text string) ([]article.Tag, error) { return parseTags(text) }

// LimitScans makes lists read fewer entries.
func (s *Store) LimitScans(entries, sorted, firstChunk, lastChunk int) {
	s.scans = scanLimits{entries, sorted, firstChunk, lastChunk}
}

// LimitSearches makes searches look at fewer candidates.
func (s *Store) LimitSearches(titles, lookups, candidates, firstBatch int) {
	s.limits = searchLimits{titles, lookups, candidates, firstBatch}
}

// LimitScheduled lets fewer articles be scheduled.
func (s *Store) LimitScheduled(most int) { s.maxScheduled = most }

// PublishDue publishes articles that are due, and returns their number.
func (s *Store) PublishDue(ctx context.Context) (int, error) {
	n, _, err := s.publishDue(ctx)
	return n, err
}

// LimitReindex makes ReindexWords look at fewer articles and entries at a time.
func (s *Store) LimitReindex(ids uint64, entries, collected int, bytes, locked int64) {
	s.reindex = reindexLimits{ids, entries, collected, bytes, locked}
}

// AppendNothing makes writes add no change to the feed.
func (s *Store) AppendNothing() { s.feed.add = func(*gorm.DB, ...any) error { return nil } }

// AppendUnderLock makes writes number their changes themselves, under the lock of a row.
func (s *Store) AppendUnderLock() {
	s.feed.add = func(tx *gorm.DB, values ...any) error {
		return s.feed.all.Append(tx, "", nil, []string{"article_id", "visible_before", "visible_after"}, values...)
	}
}
