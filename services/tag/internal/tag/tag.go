// Package tag is the domain of the tag service: tags, and the feed of their
// changes that other services follow. It knows neither HTTP nor SQL.
package tag

import (
	"context"
	"time"
)

// States of a tag.
const (
	Disabled State = 0
	Enabled  State = 1
)

// State says whether a tag is in use.
type State uint8

// Tag is a label that articles carry.
type Tag struct {
	ID        uint64
	Name      string
	State     State
	CreatedAt time.Time
	CreatedBy string // app key
	UpdatedAt time.Time
	UpdatedBy string // app key
}

// Draft is what a client says about a tag; what is nil it leaves open.
type Draft struct {
	Name  string
	State *State
	// Actor is the app key of the client.
	Actor string
}

// Precondition refuses a change by an error, unless the tag is as it should be. It
// is asked while nothing else can change the tag; nil refuses nothing.
type Precondition func(current Tag) error

// Filter narrows a list; a nil field admits all.
type Filter struct {
	Name  *string
	State *State
}

// Page is the part of a list that is wanted.
type Page struct {
	Offset, Limit int
}

// Store keeps tags and their changes. Every error it returns carries a code:
// TagNotFound, TagNameExists, ChangesTrimmed or Unavailable, or is that of the
// context, of a Precondition, or of what made the context to have a write done once.
type Store interface {
	// Create inserts a tag and appends its change, both or neither.
	Create(ctx context.Context, draft Draft) (Tag, error)
	// Get returns the tag that is not deleted.
	Get(ctx context.Context, id uint64) (Tag, error)
	// List returns a page of the tags, oldest first, and the number of all.
	List(ctx context.Context, filter Filter, page Page) ([]Tag, int64, error)
	// Update replaces the name, and the state where the draft has one.
	Update(ctx context.Context, id uint64, draft Draft, precondition Precondition) (Tag, error)
	// Delete marks the tag as deleted; its name is free again.
	Delete(ctx context.Context, id uint64, actor string, precondition Precondition) error
	// Changes returns at most limit changes behind the position after, in
	// order and without gaps, or ChangesTrimmed when they are not all there.
	Changes(ctx context.Context, after uint64, limit int) (Changes, error)
	// Snapshot returns all tags as of one position in the feed.
	Snapshot(ctx context.Context) (Snapshot, error)
	// Trim removes the oldest changes, up to limit of them, that were made
	// before the given time, and returns how many it removed.
	Trim(ctx context.Context, before time.Time, limit int) (int64, error)
}
