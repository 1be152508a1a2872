package tag

import "github.com/achilles-blog/achilles/pkg/changefeed"

// Change is an entry of the feed. One of the kind Put has the whole tag.
type Change struct {
	// Sequence numbers the changes from 1, without gaps, in the order of their
	// commits.
	Sequence uint64
	TagID    uint64
	Kind     changefeed.Kind
	Name     string
	State    State
}

// Number implements changefeed.Entry.
func (c Change) Number() uint64 { return c.Sequence }

// Changes is a part of the feed.
type Changes = changefeed.Changes[Change]

// Snapshot holds all tags that are not deleted as of the offset Sequence.
type Snapshot struct {
	Epoch    string
	Sequence uint64
	Tags     []Tag
}
