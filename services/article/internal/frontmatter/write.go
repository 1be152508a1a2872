package frontmatter

import (
	"fmt"
	"strings"
	"time"
)

// timeFormat has the precision of the database.
const timeFormat = "2006-01-02T15:04:05.000Z"

// Markdown returns the post as Markdown with front matter in YAML, which Parse reads as it was.
// Texts are in quotation marks, so none is taken for a number, a date or another value. The same
// post is always the same text.
func (p Post) Markdown() string {
	var b strings.Builder
	b.Grow(len(p.Content) + 1024)
	b.WriteString("---\n")
	field(&b, "title", p.Title)
	field(&b, "slug", p.Slug)
	moment(&b, "date", p.Date)
	moment(&b, "created", p.Created)
	moment(&b, "lastmod", p.Updated)
	moment(&b, "publishDate", p.Publish)
	if p.Draft {
		b.WriteString("draft: true\n")
	}
	field(&b, "description", p.Description)
	field(&b, "cover", p.Cover)
	field(&b, "cover_image_url", p.CoverURL)
	texts(&b, "tags", p.Tags)
	texts(&b, "hidden_tags", p.HiddenTags)
	b.WriteString("---\n\n")
	b.WriteString(p.Content)
	return b.String()
}

func field(b *strings.Builder, name, text string) {
	if text != "" {
		b.WriteString(name + ": ")
		quote(b, text)
		b.WriteByte('\n')
	}
}

func moment(b *strings.Builder, name string, at time.Time) {
	if !at.IsZero() {
		b.WriteString(name + ": " + at.UTC().Format(timeFormat) + "\n")
	}
}

func texts(b *strings.Builder, name string, all []string) {
	if len(all) == 0 {
		return
	}
	b.WriteString(name + ":\n")
	for _, text := range all {
		b.WriteString("  - ")
		quote(b, text)
		b.WriteByte('\n')
	}
}

// quote writes a text in double quotation marks, as YAML and JSON understand it.
func quote(b *strings.Builder, text string) {
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r >= 0x7f && r <= 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfeff || r == 0xfffe || r == 0xffff:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}
