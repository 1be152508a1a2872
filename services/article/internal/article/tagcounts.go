package article

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/achilles-blog/achilles/pkg/coalesce"
)

// TagCount is a tag with the number of articles that have it.
type TagCount struct {
	Tag
	Count int64
}

// TagPage selects a part of a list of tags: the first Limit tags behind After, or behind
// Offset tags. Only one of After and Offset is set.
type TagPage struct {
	// ByName orders the tags by their names, instead of their numbers of articles. Tags that are
	// equal in that are ordered by their ids, in the same direction.
	ByName, Ascending bool
	After             *TagCount // nil for the beginning of the list
	Offset, Limit     int
}

// A TagList is a page of tags, as it was read for all who asked for it at the same time. They
// share it, so it must not be modified.
type TagList struct {
	Tags  []TagCount
	Total Total
	// Next is the tag behind which the list goes on, nil if it ends here.
	Next *TagCount
	// Until is like List.Until.
	Until time.Time
	// Encodings has the responses that are made from it.
	Encodings coalesce.Memo[string, []byte]

	once    sync.Once
	version string
}

// Version identifies what clients see of the tags.
func (l *TagList) Version() string {
	l.once.Do(func() {
		var version []byte
		for _, t := range l.Tags {
			version = append(strconv.AppendUint(version, t.ID, 10), ' ')
			version = append(strconv.AppendInt(version, t.Count, 10), ' ')
			version = append(strconv.AppendUint(version, uint64(t.State), 10), ' ')
			version = append(strconv.AppendQuote(version, t.Name), '\n')
		}
		l.version = string(version)
	})
	return l.version
}

// Tags returns a page of the tags that the viewer may see, with the numbers of those of their
// articles that it may see.
func (s *Service) Tags(ctx context.Context, viewer Viewer, page TagPage) (*TagList, error) {
	return s.store.Tags(ctx, viewer, page)
}
