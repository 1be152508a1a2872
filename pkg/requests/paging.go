package requests

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// Paging are the sizes of pages: what is used when the client names none, and
// what is used when it names too much.
type Paging struct {
	DefaultSize int
	MaxSize     int
}

// Validate says what is wrong with the sizes, naming the settings they are
// read from.
func (p Paging) Validate() error {
	if p.DefaultSize < 1 {
		return settings.Invalid("DefaultPageSize", strconv.Itoa(p.DefaultSize), "a number above 0")
	}
	if p.MaxSize < p.DefaultSize {
		return settings.Invalid("MaxPageSize", strconv.Itoa(p.MaxSize), "a number not below DefaultPageSize")
	}
	return nil
}

// Page is one page of a list. Both are at least 1.
type Page struct {
	Number int
	Size   int
}

// Offset is the number of rows before the page. It does not overflow: a page
// too far to count is one past every end.
func (p Page) Offset() int {
	if p.Number-1 > math.MaxInt/p.Size {
		return math.MaxInt
	}
	return (p.Number - 1) * p.Size
}

// Parse reads page and page_size as the clients of a blog expect: what is no
// number, or below 1, means the first page or the default size, and a size
// above the maximum means the maximum. Nothing is an error.
func (p Paging) Parse(page, size string) Page {
	number := positive(page)
	if number == 0 {
		number = 1
	}
	rows := positive(size)
	if rows == 0 {
		rows = p.DefaultSize
	}
	return Page{Number: number, Size: min(rows, p.MaxSize)}
}

// Page reads the paging of the request's query.
func (p Paging) Page(c *gin.Context) Page {
	return p.Parse(c.Query("page"), c.Query("page_size"))
}

// positive returns the number that text is, 0 when it is none or below 1, and
// the largest there is when it is larger than that.
func positive(text string) int {
	number, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil && number != math.MaxInt {
		return 0
	}
	return max(number, 0)
}

// ID reads the id in the path. What is no positive number is InvalidParams;
// a number larger than any id is an id that is missing: notFound.
func ID(c *gin.Context, notFound errcode.Code) (uint64, error) {
	return ParseID(c.Param("id"), notFound)
}

// ParseID is ID for a text.
func ParseID(text string, notFound errcode.Code) (uint64, error) {
	if text == "" || text[0] == '0' || strings.Trim(text, "0123456789") != "" {
		return 0, errcode.New(errcode.InvalidParams, errcode.Text{
			ZH:       "id 必须是正整数: " + shorten(text),
			EN:       "id must be a positive integer: " + shorten(text),
			ZHHantTW: "id 必須是正整數: " + shorten(text),
		})
	}
	// SQLite's integers are signed, so no id is above this in either dialect.
	id, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, errcode.New(notFound)
	}
	return id, nil
}

// shorten keeps an echo of the client's own words short and printable.
func shorten(text string) string {
	const most = 40
	if !utf8.ValidString(text) {
		return strconv.QuoteToASCII(text[:min(len(text), most)])
	}
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return strconv.Quote(text)
}
