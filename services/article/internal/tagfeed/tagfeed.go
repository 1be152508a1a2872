// Package tagfeed has the types of the change feed of the tag service, which the article
// service follows: it maintains a read model of the tags, so that reading articles needs no
// other service.
package tagfeed

import (
	"time"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/changefeed/follow"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// Change is a change of one tag. One of the kind Put contains the whole tag.
type Change struct {
	Sequence uint64          `json:"sequence"`
	TagID    uint64          `json:"tag_id"`
	Kind     changefeed.Kind `json:"kind"`
	Name     string          `json:"name"`
	State    uint8           `json:"state"`
}

// Number implements changefeed.Entry.
func (c Change) Number() uint64 { return c.Sequence }

// Changes is a batch of consecutive changes.
type Changes = changefeed.Changes[Change]

// Tag is a tag in a snapshot.
type Tag struct {
	ID    uint64 `json:"id"`
	Name  string `json:"name"`
	State uint8  `json:"state"`
}

// Snapshot contains all tags after the change with the given sequence.
type Snapshot struct {
	Epoch    string `json:"epoch"`
	Sequence uint64 `json:"sequence"`
	Tags     []Tag  `json:"tags"`
}

// At implements follow.Snapshot.
func (s Snapshot) At() changefeed.Offset {
	return changefeed.Offset{Epoch: s.Epoch, Sequence: s.Sequence}
}

// Follower keeps the read model of the tags up to date.
type Follower = follow.Follower[Change, Snapshot]

// ReadModel stores the tags.
type ReadModel = follow.ReadModel[Change, Snapshot]

// Client reads the feed of the tags.
type Client = follow.Client[Change, Snapshot]

// NewClient returns a client of the tag service at the base URL. The timeout of a
// call is added to the time that the call asks the service to wait.
func NewClient(base string, token settings.Secret, timeout time.Duration) *Client {
	return follow.NewClient[Change, Snapshot](follow.Endpoint{
		Name: "tag", Base: base, Changes: "/internal/v1/tag-changes", Snapshot: "/internal/v1/tag-snapshot", Token: token, Timeout: timeout,
	})
}
