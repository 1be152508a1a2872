// Package tagfeed follows the tag service's feed of changes, so that articles
// have a copy of the tags at hand and need no other service to be read.
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

// Change is one step of the feed; a put carries the whole tag.
type Change struct {
	Sequence uint64 `json:"sequence"`
	TagID    uint64 `json:"tag_id"`
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	State    uint8  `json:"state"`
}

// Changes is a stretch of the feed, in order and without gaps. Last is the
// newest position there is.
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

// Snapshot is every tag as of one position.
type Snapshot struct {
	Epoch    string `json:"epoch"`
	Sequence uint64 `json:"sequence"`
	Tags     []Tag  `json:"tags"`
}

// Position is how far the copy has followed the feed. An empty epoch means
// that there is no copy yet.
type Position struct {
	Epoch    string
	Sequence uint64
}

// ErrStartOver says that the changes at hand do not continue the copy: it must
// be replaced by a snapshot.
var ErrStartOver = errors.New("the changes do not continue the copy of the tags")

// Copy is the copy of the tags and its position, kept together: each method is
// one transaction, so that a change takes effect exactly once however many
// replicas apply it and wherever one of them crashes.
type Copy interface {
	// Position returns how far the copy has come.
	Position(ctx context.Context) (Position, error)
	// Apply applies those changes that are behind the copy's position. It
	// returns ErrStartOver for another epoch and for a gap.
	Apply(ctx context.Context, changes Changes) error
	// Replace makes the copy what the snapshot says, unless the copy has moved
	// on from the given position: then another replica has replaced it.
	Replace(ctx context.Context, from Position, snapshot Snapshot) error
}
