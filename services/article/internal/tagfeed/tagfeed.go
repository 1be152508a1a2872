// Package tagfeed follows the change feed of the tag service. It maintains a read
// model of the tags, so that reading articles needs no other service.
package tagfeed

import (
	"context"
	"errors"
)

// Kinds of changes.
const (
	Put    = "put"
	Delete = "delete"
)

// Change is a change of one tag. A Put contains the whole tag.
type Change struct {
	Sequence uint64 `json:"sequence"`
	TagID    uint64 `json:"tag_id"`
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	State    uint8  `json:"state"`
}

// Changes is a batch of consecutive changes. Last is the sequence of the newest
// change in the feed.
type Changes struct {
	Epoch   string   `json:"epoch"`
	Changes []Change `json:"changes"`
	Last    uint64   `json:"last"`
}

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

// Offset is the last change that was applied to the read model. Epoch is empty
// until the first snapshot is loaded.
type Offset struct {
	Epoch    string
	Sequence uint64
}

// ErrStartOver means that the changes do not follow the offset of the read model,
// which must be replaced by a snapshot.
var ErrStartOver = errors.New("the changes do not follow the offset of the tag read model")

// ReadModel stores the tags and the offset. Each method is one transaction: a
// change takes effect exactly once, even if several replicas apply it or one
// crashes.
type ReadModel interface {
	// Offset returns the current offset.
	Offset(ctx context.Context) (Offset, error)
	// Apply applies the changes after the current offset and skips the others.
	// It returns ErrStartOver if the epoch differs or a change is missing.
	Apply(ctx context.Context, changes Changes) error
	// Replace replaces all tags by the snapshot if the current offset is from.
	// Otherwise it does nothing: another replica was faster.
	Replace(ctx context.Context, from Offset, snapshot Snapshot) error
}
