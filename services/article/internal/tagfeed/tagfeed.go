// Package tagfeed has the types of the change feed of the tag service, which the article
// service follows: it keeps a read model of the tags, so that its requests need no other
// service.
package tagfeed

import (
	"time"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/changefeed/follow"
	"github.com/achilles-blog/achilles/pkg/changefeed/readmodel"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// Change is a change of one tag. One of the kind Put has the tag as it is then.
type Change struct {
	Sequence uint64          `json:"sequence"`
	TagID    uint64          `json:"tag_id"`
	Kind     changefeed.Kind `json:"kind"`
	Name     string          `json:"name"`
	State    uint8           `json:"state"`
}

// Number implements changefeed.Entry.
func (c Change) Number() uint64 { return c.Sequence }

// Row implements readmodel.Change.
func (c Change) Row() (row Tag, deleted bool) {
	return Tag{ID: c.TagID, Name: c.Name, State: c.State}, c.Kind == changefeed.Delete
}

// Changes is a batch of consecutive changes.
type Changes = changefeed.Changes[Change]

// Tag is a tag in a snapshot, and in the read model.
type Tag struct {
	ID    uint64 `json:"id" gorm:"primaryKey;autoIncrement:false"`
	Name  string `json:"name"`
	State uint8  `json:"state"`
}

// Key implements readmodel.Row.
func (t Tag) Key() uint64 { return t.ID }

// Snapshot has all tags after the change with the given sequence.
type Snapshot struct {
	Epoch    string `json:"epoch"`
	Sequence uint64 `json:"sequence"`
	Tags     []Tag  `json:"tags"`
}

// At implements follow.Snapshot.
func (s Snapshot) At() changefeed.Offset {
	return changefeed.Offset{Epoch: s.Epoch, Sequence: s.Sequence}
}

// Rows implements readmodel.Snapshot.
func (s Snapshot) Rows() []Tag { return s.Tags }

// ReadModel stores the tags.
type ReadModel = readmodel.Store[Change, Snapshot, Tag]

// NewReadModel returns the read model in a database with the current schema. remove is
// readmodel.Config.Delete.
func NewReadModel(db *database.DB, remove readmodel.Delete) *ReadModel {
	return readmodel.New[Change, Snapshot](db, readmodel.Config{Rows: "tag_projection", Offset: "tag_offset", Delete: remove})
}

// Client reads the feed of the tags.
type Client = follow.Client[Change, Snapshot]

// NewClient returns a client of the tag service at the base URL. The timeout of a
// call is added to the time that the call asks the service to wait.
func NewClient(base string, token settings.Secret, timeout time.Duration) *Client {
	return follow.NewClient[Change, Snapshot](follow.Endpoint{
		Name: "tag", Base: base, Changes: "/internal/v1/tag-changes", Snapshot: "/internal/v1/tag-snapshot", Token: token, Timeout: timeout,
	})
}
