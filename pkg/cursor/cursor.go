// Package cursor makes and checks cursors: opaque texts that say after which row the next
// page of a list begins. Rows that are inserted or deleted meanwhile move no other row to
// another page, as they do with page numbers.
package cursor

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

const (
	// MaxKeyLength is the maximum length of a key in bytes. No text that a list is ordered by
	// is longer.
	MaxKeyLength = 512
	// version is the first byte of a cursor.
	version = 1
	// A cursor is the version, the checksum, the id and the key.
	checksumLength = 8
	headLength     = 1 + checksumLength + 8
)

// maxLength is the maximum length of a cursor.
var maxLength = encoding().EncodedLen(headLength + MaxKeyLength)

func encoding() *base64.Encoding { return base64.RawURLEncoding }

// A List identifies a list. It accepts only its own cursors.
type List struct {
	// Route is the path of the list, such as /api/v1/tags.
	Route string
	// Order is the order of the rows, such as -created_at.
	Order string
	// Filters are the filters of the request; see requests.Filters.
	Filters string
}

// A Position is the place of a row in a list. The zero Position is none.
type Position struct {
	// Key is what the list is ordered by, as text. It is valid UTF-8, but may be none
	// that a row can have: the checksum of a cursor is not a secret.
	Key string
	// ID orders the rows with equal keys. It is positive, and at most math.MaxInt64.
	ID uint64
}

// Valid reports whether p is a position.
func (p Position) Valid() bool { return p.ID > 0 }

// timeFormat is RFC 3339 in UTC with the precision of the database.
const timeFormat = "2006-01-02T15:04:05.000Z"

// TimeKey returns the key of a row in a list that is ordered by a time.
func TimeKey(at time.Time) string { return at.UTC().Format(timeFormat) }

// Time parses Key, which TimeKey has returned. If it has not, the error is that of Parse.
func (p Position) Time() (time.Time, error) {
	at, err := time.Parse(timeFormat, p.Key)
	if err != nil || at.Year() == 0 || TimeKey(at) != p.Key { // databases have no year 0
		return time.Time{}, Invalid()
	}
	return at, nil
}

// New returns the cursor of the rows after a position. A key of more than MaxKeyLength
// bytes gives a cursor that Parse doesn't accept.
func (l List) New(after Position) string {
	text := append(make([]byte, 0, headLength+len(after.Key)), version)
	text = append(text, l.checksum(after)...)
	text = binary.BigEndian.AppendUint64(text, after.ID)
	return encoding().EncodeToString(append(text, after.Key...))
}

// checksum finds cursors that are damaged or of another list. It is no signature: whoever
// makes a cursor of their own gets rows that they may see anyway.
func (l List) checksum(after Position) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d %d:%s %d:%s %d:%s %s", version, after.ID,
		len(l.Route), l.Route, len(l.Order), l.Order, len(l.Filters), l.Filters, after.Key))
	return sum[:checksumLength]
}

// Parse returns the position of a cursor. If the text is not a cursor of the list, the error
// is an InvalidParams error of the parameter after.
func (l List) Parse(text string) (Position, error) {
	if len(text) > maxLength {
		return Position{}, Invalid()
	}
	data, err := encoding().DecodeString(text)
	if err != nil || len(data) < headLength || data[0] != version {
		return Position{}, Invalid()
	}
	after := Position{Key: string(data[headLength:]), ID: binary.BigEndian.Uint64(data[1+checksumLength:])}
	switch {
	case !bytes.Equal(data[1:1+checksumLength], l.checksum(after)),
		after.ID == 0, after.ID > math.MaxInt64, !utf8.ValidString(after.Key),
		l.New(after) != text: // base64 has several texts for some data
		return Position{}, Invalid()
	}
	return after, nil
}

// Invalid returns the error of a parameter after that is not a cursor of the list.
func Invalid() error {
	return &errcode.Error{Code: errcode.InvalidParams, Details: []errcode.Detail{errcode.Invalid("after", errcode.Malformed, errcode.Text{
		ZH:       "after不是此列表的游标: 请原样使用 pager 中的 next, 并保持筛选条件和 order_by 不变",
		EN:       "after is not a cursor of this list: send next of the pager as it is, with the same filters and the same order_by",
		ZHHantTW: "after不是此列表的游標: 請原樣使用 pager 中的 next, 並保持篩選條件和 order_by 不變",
	})}}
}
