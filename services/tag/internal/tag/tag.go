// Package tag is the domain of the tag service: tags, and the feed of their
// changes that other services follow. It imports neither HTTP nor SQL.
package tag

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/achilles-blog/achilles/pkg/cursor"
	"github.com/achilles-blog/achilles/pkg/idempotency"
)

// States of a tag.
const (
	Disabled State = 0
	Enabled  State = 1
)

// State says whether a tag is in use.
type State uint8

// Viewer says what a client may see.
type Viewer uint8

const (
	// Anonymous sees enabled tags only.
	Anonymous Viewer = iota
	// Authenticated sees all tags.
	Authenticated
)

// ErrUnauthenticated is returned to anonymous clients that ask for disabled tags.
var ErrUnauthenticated = errors.New("disabled tags are for authenticated clients only")

// Tag is a label that articles carry.
type Tag struct {
	ID    uint64
	Name  string
	State State
	// Revision counts the changes of the tag, from 1.
	Revision  uint64
	CreatedAt time.Time
	CreatedBy string // app key
	UpdatedAt time.Time
	UpdatedBy string // app key
}

// Version identifies what clients see of the tag.
func (t Tag) Version() string { return strconv.FormatUint(t.Revision, 10) }

// Draft is what a client wants a tag to be. A nil field keeps the value of an existing
// tag. A new tag needs a name, and is enabled if State is nil.
type Draft struct {
	Name  *string
	State *State
	// Actor is the app key of the client.
	Actor string
}

// Precondition returns an error if a tag with this version must not be changed. A
// nil Precondition allows every change.
type Precondition func(version string) error

// Filter selects the tags of a list; a nil field selects all.
type Filter struct {
	Name *string
	// Prefix is the beginning of the names.
	Prefix *string
	State  *State
}

// Page selects a part of a list.
type Page struct {
	Offset, Limit int
	Order         Order
	// After, if valid, is the position of the tag before the page.
	After cursor.Position
}

// Store stores tags and their changes. Its errors are those of the context or the
// Precondition, or an errcode.Error with TagNotFound, TagNameExists,
// ChangesTrimmed, Unavailable, and for Create KeyReused or RequestInProgress.
type Store interface {
	// Create inserts a tag and appends its change, both or neither. If a request
	// with the same key has created a tag before, Create returns that tag, as it was
	// then, and replayed.
	Create(ctx context.Context, draft Draft, key idempotency.Key) (created Tag, replayed bool, err error)
	// CreateAll is like Create for several drafts, all or none of them. The error of a single
	// draft is a batch.Errors.
	CreateAll(ctx context.Context, drafts []Draft, key idempotency.Key) (created []Tag, replayed bool, err error)
	// Claim claims the key of a request that creates tags one by one. Its errors are those of
	// the key.
	Claim(ctx context.Context, key idempotency.Key) error
	// Get returns the tag, unless it is deleted.
	Get(ctx context.Context, id uint64) (*Shared, error)
	// List returns a page of the tags and the total number. A prefix in another order than
	// by name that more than MaxCounted tags have is an InvalidParams error.
	List(ctx context.Context, filter Filter, page Page) (*List, error)
	// Update sets the fields that the draft has. If none of them changes, the tag keeps its revision and
	// no change is appended. The precondition is checked while the tag is locked.
	Update(ctx context.Context, id uint64, draft Draft, precondition Precondition) (Tag, error)
	// Delete marks the tag as deleted, which frees its name.
	Delete(ctx context.Context, id uint64, actor string, precondition Precondition) error
	// Changes returns at most limit changes after an offset, in order and without
	// gaps, or ChangesTrimmed if some of them have been removed.
	Changes(ctx context.Context, after uint64, limit int) (Changes, error)
	// LastChange returns the number of the newest change.
	LastChange(ctx context.Context) (uint64, error)
	// Snapshot returns all tags as of one offset in the feed.
	Snapshot(ctx context.Context) (Snapshot, error)
	// Trim removes at most limit changes that were made before the given time,
	// oldest first, and returns their number.
	Trim(ctx context.Context, before time.Time, limit int) (int64, error)
}
