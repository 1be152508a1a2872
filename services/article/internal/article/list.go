package article

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// MaxFilterTags is the maximum number of tags in each condition of a Filter.
const MaxFilterTags = 20

// Filter selects the articles of a list: those for which all of its conditions hold. A
// field that is nil is no condition.
type Filter struct {
	// AnyTag has the ids of tags of which an article has one or more.
	AnyTag []uint64
	// AllTags has the ids of tags all of which an article has.
	AllTags []uint64
	// Tag is the name of a tag.
	Tag *string
	// Title is contained in the titles, regardless of case.
	Title *string
	// Words are words that the articles have, see search.QueryWords.
	Words []string
	// State is Disabled, or Enabled, which includes articles that are scheduled.
	State *State
	// Public, together with Enabled, leaves out articles that are scheduled.
	Public bool
	// Created, Updated and Published contain the times of the articles.
	Created, Updated, Published Interval
	// TagEnabled requires the tags of the other fields to be enabled.
	TagEnabled bool
}

// For returns the filter for the articles that the viewer may see.
func (f Filter) For(viewer Viewer) Filter {
	if viewer == Anonymous {
		f.State, f.Public, f.TagEnabled = new(Enabled), true, true
	}
	return f
}

// Interval contains the times from From until before To. Without From it has no
// beginning, without To no end.
type Interval struct{ From, To *time.Time }

// Order is the order of a list. The zero Order is by id, descending. Articles that
// are equal in it are ordered by their ids, in the same direction.
type Order struct {
	By        OrderBy
	Ascending bool
}

// OrderBy is what a list is ordered by.
type OrderBy uint8

// Values of OrderBy. Titles are compared by their code points.
const (
	ByID OrderBy = iota
	ByCreated
	ByUpdated
	ByTitle
	ByPublished
	ByRank // of a search for words
)

// Page selects a part of a list: the first Limit articles behind After, or behind Offset
// articles. Only one of After and Offset is set.
type Page struct {
	Order         Order
	After         *Position // nil for the beginning of the list
	Offset, Limit int
}

// Position is a position in a list: that of an article, which need not exist any longer.
type Position struct {
	ID uint64
	// Of these, only what the list is ordered by is set.
	Time  time.Time
	Title string
	Rank  int
}

// PositionOf returns the position of an article in a list, without its rank.
func (o Order) PositionOf(a Article) Position {
	switch o.By {
	case ByCreated:
		return Position{ID: a.ID, Time: a.CreatedAt}
	case ByUpdated:
		return Position{ID: a.ID, Time: a.UpdatedAt}
	case ByPublished:
		return Position{ID: a.ID, Time: a.PublishedAt}
	case ByTitle:
		return Position{ID: a.ID, Title: a.Title}
	default:
		return Position{ID: a.ID}
	}
}

// Compare returns a negative number if a stands before b in a list, and a positive one if
// it stands behind it.
func (o Order) Compare(a, b Position) int {
	order := 0
	switch o.By {
	case ByCreated, ByUpdated, ByPublished:
		order = a.Time.Compare(b.Time)
	case ByTitle:
		order = strings.Compare(a.Title, b.Title)
	case ByRank:
		order = cmp.Compare(a.Rank, b.Rank)
	}
	order = cmp.Or(order, cmp.Compare(a.ID, b.ID))
	if o.Ascending {
		return order
	}
	return -order
}

// Sort orders the articles of a page.
func (o Order) Sort(articles []Article) {
	slices.SortFunc(articles, func(a, b Article) int { return o.Compare(o.PositionOf(a), o.PositionOf(b)) })
}

// maxMerged is the offset up to which a list of all states in another order than that of ids is
// cheap: it merges a list for each state.
const maxMerged = 1000

// Expensive reports whether a page of a list may have to read many more articles than it has,
// not counting a search for a title.
func (f Filter) Expensive(page Page) bool {
	return f.Scans(page.Order) || f.State == nil && page.Order.By != ByID && page.Offset > maxMerged
}

// Scans reports whether the list has to read articles that are not on it, because no index has
// exactly its articles in its order.
func (f Filter) Scans(o Order) bool {
	tags := len(f.AnyTag) + len(f.AllTags)
	if f.Tag != nil {
		tags++
	}
	published := f.Published.bounded() && o.By != ByPublished
	if tags == 0 {
		return published || f.Created.bounded() && o.By != ByCreated || f.Updated.bounded() && o.By != ByUpdated
	}
	return tags > 1 || o.By != ByID && o.By != ByPublished || published || f.Created.bounded() || f.Updated.bounded()
}

func (i Interval) bounded() bool { return i.From != nil || i.To != nil }
