package requests

import (
	"math"
	"strconv"
	"strings"

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

// Page is one page of a list. Number and Size are at least 1.
type Page struct {
	Number int
	Size   int
}

// Offset returns the number of rows before the page, at most math.MaxInt.
func (p Page) Offset() int {
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

// positive returns the number in text, at most math.MaxInt, or 0 if it is not a
// number or below 1.
func positive(text string) int {
	number, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil && number != math.MaxInt {
		return 0
	}
	return max(number, 0)
}
