// Package frontmatter reads and writes posts of static site generators: Markdown behind
// front matter, which has the title, the dates and other fields. It knows front matter in
// YAML, TOML and JSON, and the names of fields and the formats of times that Hugo, Jekyll and
// Hexo use.
package frontmatter

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxSize is the maximum size of front matter in bytes.
const MaxSize = 64 << 10

const (
	// maxValues is the maximum number of values that front matter may have, counting those of
	// an alias wherever it is used.
	maxValues = 10_000
	// maxDepth is how deep values may be nested.
	maxDepth = 20
)

// A Post is a text with its front matter. A field that is not given is zero.
type Post struct {
	Title string
	// Slug is the name of the post in addresses, as it is written. PathSlug is the last part of
	// a permalink.
	Slug, PathSlug string
	Description    string
	// Cover is the address of an image, or its path. CoverURL is the address of another one, if the
	// field cover_image_url is there, too.
	Cover, CoverURL string
	// Date is when the post was published, or written, Updated when it was changed last. Created is
	// when it was written, and Publish when it is to be published, if these are given by themselves.
	Date, Created, Updated, Publish time.Time
	Draft                           bool
	// Tags are tags and categories, without duplicates.
	Tags []string
	// HiddenTags are those of the tags that readers don't see.
	HiddenTags []string
	Content    string
	// Bare says that there is no front matter.
	Bare bool
}

// An Error says what is wrong in which line of a file, and what to do.
type Error struct {
	Line    int // from 1; 0 if it is not known
	Problem string
}

// Error implements error.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Problem
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Problem)
}

func wrong(line int, format string, args ...any) error {
	return &Error{line, fmt.Sprintf(format, args...)}
}

const byteOrderMark = "\ufeff"

// Parse reads a post. Times without a zone are in zone. Its errors are of type *Error.
func Parse(file []byte, zone *time.Location) (Post, error) {
	file = withLineFeeds(file)
	if err := checkText(file); err != nil {
		return Post{}, err
	}
	text := strings.TrimPrefix(string(file), byteOrderMark)
	part, err := split(text)
	if err != nil {
		return Post{}, err
	}
	post := Post{Content: part.content, Bare: part.format == nil}
	if post.Bare {
		return post, nil
	}
	if len(part.matter) > MaxSize {
		return Post{}, wrong(part.line, "the front matter has %d bytes, and may have at most %d: move what is no field of the post to the text", len(part.matter), MaxSize)
	}
	fields, err := part.format(part.matter, part.line)
	if err != nil {
		return Post{}, err
	}
	return post, (&reader{fields: fields, zone: zone}).read(&post)
}

// withLineFeeds returns a file whose first line ends with a carriage return alone, as those of old
// Macs, with line feeds instead. Markdown doesn't tell them apart, and front matter has none.
func withLineFeeds(file []byte) []byte {
	end := bytes.IndexAny(file, "\r\n")
	if end < 0 || file[end] == '\n' || bytes.HasPrefix(file[end:], []byte("\r\n")) {
		return file
	}
	file = bytes.ReplaceAll(file, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(file, []byte("\r"), []byte("\n"))
}

// checkText requires UTF-8.
func checkText(file []byte) error {
	if utf8.Valid(file) {
		return nil
	}
	if bytes.HasPrefix(file, []byte("\xff\xfe")) || bytes.HasPrefix(file, []byte("\xfe\xff")) {
		return wrong(1, "the file is UTF-16: save it as UTF-8")
	}
	line := 1
	for rest := file; ; {
		r, size := utf8.DecodeRune(rest)
		if r == utf8.RuneError && size == 1 {
			return wrong(line, "the byte 0x%02X is not UTF-8: save the file as UTF-8", rest[0])
		}
		if r == '\n' {
			line++
		}
		rest = rest[size:]
	}
}

// parts are front matter and what follows it.
type parts struct {
	matter  string
	line    int // of the first line of matter
	format  func(matter string, line int) (fields, error)
	content string
}

// split separates front matter and content. One empty line between them belongs to neither.
func split(text string) (parts, error) {
	start := strings.TrimLeft(text, " \t\r\n")
	line := 1 + strings.Count(text[:len(text)-len(start)], "\n")
	first, rest, more := cutLine(start)
	switch {
	case dashes(first):
		return fenced(first, rest, more, line, parseYAML)
	case first == "+++":
		return fenced(first, rest, more, line, parseTOML)
	case looksLikeJSON(start):
		return splitJSON(start, line)
	case looksLikeField(first):
		if p, err := fenced("---", start, true, line-1, parseYAML); err == nil {
			return p, nil
		}
	}
	return parts{content: text}, nil
}

// cutLine returns the first line without its end and the blanks before that, and what follows.
// more is false if the line has no end.
func cutLine(text string) (line, rest string, more bool) {
	line, rest, more = strings.Cut(text, "\n")
	return strings.TrimRight(line, " \t\r"), rest, more
}

// dashes reports whether a line consists of three or more hyphens.
func dashes(line string) bool {
	return len(line) >= 3 && strings.Trim(line, "-") == ""
}

// fenced splits a text whose front matter ends with a line that is equal to the fence.
func fenced(fence, text string, more bool, line int, format func(string, int) (fields, error)) (parts, error) {
	for rest := text; more; {
		var one string
		start := len(text) - len(rest)
		one, rest, more = cutLine(rest)
		if one == fence || one == "..." && fence == "---" {
			return parts{text[:start], line + 1, format, withoutEmptyLine(rest)}, nil
		}
	}
	return parts{}, wrong(line, "the front matter that begins here has no end: add a line %s behind its last field", fence)
}

func withoutEmptyLine(content string) string {
	if after, ok := strings.CutPrefix(content, "\r\n"); ok {
		return after
	}
	return strings.TrimPrefix(content, "\n")
}

// looksLikeField reports whether a line may begin front matter without a line before it, as
// old posts of Hexo have it.
func looksLikeField(line string) bool {
	name, _, found := strings.Cut(line, ":")
	switch strings.ToLower(name) {
	case "title", "layout", "date", "tags", "categories":
		return found
	}
	return false
}
