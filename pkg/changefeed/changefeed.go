// Package changefeed has what all feeds of changes share. A feed numbers its changes from 1
// without gaps; a change that follows from another one has a higher number. A reader remembers
// the offset up to which it has read. The package imports neither HTTP nor SQL: sqlfeed stores
// a feed, follow keeps a read model up to date with one, and notify connects replicas.
package changefeed

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Kinds of changes. Put carries the whole object, for creation and update alike, so
// applying it twice does no harm.
const (
	Put    Kind = "put"
	Delete Kind = "delete"
)

// Kind says what a change did.
type Kind string

// Entry is a change of a feed.
type Entry interface {
	// Number returns the number of the change in its feed.
	Number() uint64
}

// Changes is a part of a feed, with consecutive changes.
type Changes[E any] struct {
	// Epoch identifies the feed; offsets of one epoch mean nothing in another.
	Epoch   string `json:"epoch"`
	Changes []E    `json:"changes"`
	// Last is the number of the newest change of the feed.
	Last uint64 `json:"last"`
}

// Offset is the place in a feed after the change with the number Sequence.
type Offset struct {
	Epoch    string
	Sequence uint64
}

// String returns the offset as a text for ParseOffset.
func (o Offset) String() string { return o.Epoch + "." + strconv.FormatUint(o.Sequence, 10) }

// maxEpoch is the maximum length of an epoch in bytes.
const maxEpoch = 64

var errOffset = errors.New("not an offset of a feed")

// notInEpoch reports whether a character can't be in an epoch.
func notInEpoch(r rune) bool {
	return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-'
}

// ParseOffset parses a text that Offset.String has returned.
func ParseOffset(text string) (Offset, error) {
	epoch, number, _ := strings.Cut(text, ".")
	sequence, err := strconv.ParseUint(number, 10, 64)
	parsed := Offset{epoch, sequence}
	if err != nil || epoch == "" || len(epoch) > maxEpoch || strings.ContainsFunc(epoch, notInEpoch) || sequence > math.MaxInt64 || parsed.String() != text {
		return Offset{}, errOffset
	}
	return parsed, nil
}
