package requests

import (
	"fmt"
	"math"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/achilles-blog/achilles/pkg/cursor"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// Paging configures the size of pages: the default, and the maximum; and the maximum
// number of rows before a page.
type Paging struct {
	DefaultSize int
	MaxSize     int
	MaxOffset   int
}

// Validate returns an error that names the setting that is invalid.
func (p Paging) Validate() error {
	if p.DefaultSize < 1 {
		return settings.Invalid("DefaultPageSize", strconv.Itoa(p.DefaultSize), "a number above 0")
	}
	if p.MaxSize < p.DefaultSize {
		return settings.Invalid("MaxPageSize", strconv.Itoa(p.MaxSize), "a number not below DefaultPageSize")
	}
	if p.MaxOffset < 0 {
		return settings.Invalid("MaxOffset", strconv.Itoa(p.MaxOffset), "a number not below 0")
	}
	return nil
}

// Page is one page of a list. Size is at least 1.
type Page struct {
	// Number is at least 1, or 0 if the page begins after a row.
	Number int
	Size   int
	// After is the position of the row before the page, if Number is 0.
	After cursor.Position
}

// Offset returns the number of rows before the page, or after the row After; it is at
// most math.MaxInt.
func (p Page) Offset() int {
	if p.Number == 0 {
		return 0
	}
	if p.Number-1 > math.MaxInt/p.Size {
		return math.MaxInt
	}
	return (p.Number - 1) * p.Size
}

// Parse parses page and page_size. A value that is not a number or below 1 is replaced
// by 1 or the default size, and a size above the maximum by the maximum. A page that begins
// after MaxOffset rows is an error, because a database reads all rows before a page.
func (p Paging) Parse(page, size string) (Page, error) {
	number := positive(page)
	if number == 0 {
		number = 1
	}
	rows := positive(size)
	if rows == 0 {
		rows = p.DefaultSize
	}
	parsed := Page{Number: number, Size: min(rows, p.MaxSize)}
	if parsed.Offset() > p.MaxOffset {
		return Page{}, tooDeepPage(p.MaxOffset, p.MaxOffset/parsed.Size+1, parsed.Size)
	}
	return parsed, nil
}

// ParseAfter is like Parse, for lists that can be read by cursors, too: after is the cursor
// of list that the request has, nil if it has none.
func (p Paging) ParseAfter(page, size string, after *string, list cursor.List) (Page, error) {
	if after == nil {
		return p.Parse(page, size)
	}
	if page != "" {
		return Page{}, pageWithAfter()
	}
	position, err := list.Parse(*after)
	if err != nil {
		return Page{}, err
	}
	parsed, err := p.Parse("", size)
	return Page{Size: parsed.Size, After: position}, err
}

// Filters returns the filters of a request as a text, for a cursor.List: all parameters that
// have a value, by name, except the others, which don't select rows. The order of the fields
// doesn't matter, nor do fields that only another release has.
func Filters(request any, others ...string) string {
	given := url.Values{}
	value := reflect.Indirect(reflect.ValueOf(request))
	for f := range fields(value.Type()) {
		name, field := jsonName(f), value.FieldByIndex(f.Index)
		if !field.IsZero() && !slices.Contains(others, name) {
			given.Set(name, fmt.Sprint(reflect.Indirect(field).Interface()))
		}
	}
	return given.Encode()
}

// positive returns the number in text, at most math.MaxInt, or 0 if it is not a
// number or below 1.
func positive(text string) int {
	number, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil && number != math.MaxInt {
		return 0
	}
	return max(number, 0)
}
