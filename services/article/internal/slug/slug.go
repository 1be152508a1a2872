// Package slug makes the part of an article's address that people can read.
package slug

import (
	"strings"
	"unicode"

	"github.com/mozillazg/go-pinyin"
	"github.com/mozillazg/go-unidecode"
	"golang.org/x/text/unicode/norm"
)

// MaxLength is the maximum length of a slug, also of one that pkg/requests accepts.
const MaxLength = 100

// Make returns a slug for a title: its words in the letters a to z and digits, with hyphens
// between them. Each Chinese character is a word, in pinyin without tones. Make returns ""
// if no character of the title has a counterpart in these letters.
func Make(title string) string {
	var words builder
	options := pinyin.NewArgs()
	for _, r := range norm.NFKC.String(title) {
		if unicode.Is(unicode.Han, r) {
			if readings := pinyin.SinglePinyin(r, options); len(readings) > 0 {
				words.end()
				words.add(readings[0])
				words.end()
				continue
			}
		}
		switch letters := unidecode.Unidecode(string(r)); {
		case letters != "":
			words.add(letters)
		case !unicode.In(r, unicode.Mark, unicode.Cf):
			words.end()
		}
	}
	words.end()
	return cut(words.slug.String(), MaxLength)
}

// WithSuffix returns the slug with a word added. If that is too long, words before it are
// left out.
func WithSuffix(slug, suffix string) string {
	return cut(slug, MaxLength-len(suffix)-1) + "-" + suffix
}

// builder collects the words of a slug.
type builder struct {
	slug, word strings.Builder
}

// add adds letters to the current word. Other characters than letters and digits end it,
// except apostrophes.
func (b *builder) add(ascii string) {
	for _, c := range strings.ToLower(ascii) {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			b.word.WriteRune(c)
		case c != '\'' && c != '"' && c != '`':
			b.end()
		}
	}
}

// end ends the current word.
func (b *builder) end() {
	if b.word.Len() == 0 {
		return
	}
	if b.slug.Len() > 0 {
		b.slug.WriteByte('-')
	}
	b.slug.WriteString(b.word.String())
	b.word.Reset()
}

// cut returns the first words of a slug, with at most size bytes. It cuts a word only if
// it is the first.
func cut(slug string, size int) string {
	if len(slug) <= size {
		return slug
	}
	if end := strings.LastIndexByte(slug[:size+1], '-'); end > 0 {
		return slug[:end]
	}
	return slug[:size]
}
