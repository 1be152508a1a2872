package tag

import (
	"strconv"

	"github.com/achilles-blog/achilles/pkg/coalesce"
)

// A Shared is a tag as it was read for all who asked for it at the same time. They share
// it, so it must not be modified.
type Shared struct {
	Tag
	// Encodings has the responses that are made from it.
	Encodings coalesce.Memo[string, []byte]
}

// A List is a page of tags as it was read for all who asked for it at the same time. They
// share it, so it must not be modified.
type List struct {
	Tags  []Tag
	Total int64
	// AtLeast reports that there are more than Total: counting ended there.
	AtLeast bool
	// More reports whether there are tags behind the page.
	More bool
	// Encodings has the responses that are made from it.
	Encodings coalesce.Memo[string, []byte]
}

// Version identifies the tags: their ids and versions.
func (l *List) Version() string {
	var versions []byte
	for _, t := range l.Tags {
		versions = append(strconv.AppendUint(versions, t.ID, 10), ' ')
		versions = append(append(versions, t.Version()...), '\n')
	}
	return string(versions)
}

// visible reports whether the viewer sees the tag.
func (t Tag) visible(viewer Viewer) bool { return viewer == Authenticated || t.State == Enabled }
