package requests

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// ID parses the id in the path. A text that is not a positive integer is an
// InvalidParams error. An integer above any id is an error with the code notFound.
func ID(c *gin.Context, notFound errcode.Code) (uint64, error) {
	return ParseID(c.Param("id"), notFound)
}

// ParseID parses an id; see ID.
func ParseID(text string, notFound errcode.Code) (uint64, error) {
	if text == "" || text[0] == '0' || strings.Trim(text, "0123456789") != "" {
		return 0, &errcode.Error{Code: errcode.InvalidParams, Details: []errcode.Detail{
			errcode.Invalid("id", errcode.InvalidType, errcode.Text{
				ZH:       "id 必须是正整数: " + shorten(text),
				EN:       "id must be a positive integer: " + shorten(text),
				ZHHantTW: "id 必須是正整數: " + shorten(text),
			}),
		}}
	}
	// SQLite's integers are signed, so no id is above this in either dialect.
	id, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, errcode.New(notFound)
	}
	return id, nil
}

const (
	// maxSlugLength is the maximum length of a slug.
	maxSlugLength = 100
	// slugName is the name of the parameter, and of the field.
	slugName = "slug"
)

var slugs = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// Slug returns the slug in the path: at most 100 letters from a to z, digits, and single
// hyphens between them. Another text is an InvalidParams error.
func Slug(c *gin.Context) (string, error) {
	text := c.Param(slugName)
	if len(text) > maxSlugLength || !slugs.MatchString(text) {
		return "", &errcode.Error{Code: errcode.InvalidParams, Details: []errcode.Detail{
			errcode.Invalid(slugName, errcode.Malformed, malformedSlug(slugName)),
		}}
	}
	return text, nil
}

// shorten quotes a text of a client for a message: printable, and of limited length.
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
