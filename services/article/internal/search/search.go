// Package search makes the entries of an index that finds parts of texts, and the queries
// of it. It knows nothing of SQL.
//
// A text is indexed by its grams. For each letter of Chinese, Japanese or Korean: the letter,
// and the letter with the next one. For any other letter: the three letters that begin with
// it, fewer at the end of the text. A text that contains another one has all grams of the
// other one's Query, or a gram with its Prefix.
package search

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxGram is the maximum length of a gram in bytes, that of its column.
const MaxGram = 12

// Fold returns the text in lower case. Texts that differ in case only are the same then.
// A part of a text is folded as it is within the text.
func Fold(text string) string { return strings.ToLower(text) }

// Grams returns the grams of a text in ascending order.
func Grams(text string) []string {
	l := lettersOf(text)
	grams := make([]string, 0, len(l.starts))
	for i := range l.len() {
		if l.isCJK(i) {
			grams = append(grams, l.part(i, 1), l.part(i, 2))
		} else {
			grams = append(grams, l.part(i, 3))
		}
	}
	slices.Sort(grams)
	return slices.Compact(grams)
}

// Query finds the texts that contain a text.
type Query struct {
	// Grams are those that the texts have all of.
	Grams []string
	// Prefix is that of one of their grams, if Grams is empty.
	Prefix string

	text string
}

// NewQuery returns the query for the texts that contain text.
func NewQuery(text string) Query {
	l := lettersOf(text)
	q := Query{text: l.text}
	for i := range l.len() {
		length := 3
		if l.isCJK(i) {
			length = 2
		}
		if i+length <= l.len() {
			q.Grams = append(q.Grams, l.part(i, length))
		}
	}
	if last := l.len() - 1; len(q.Grams) == 0 && last >= 0 && l.isCJK(last) {
		q.Grams = []string{l.part(last, 1)}
	}
	if len(q.Grams) == 0 {
		q.Prefix = q.text
	}
	slices.Sort(q.Grams)
	q.Grams = slices.Compact(q.Grams)
	return q
}

// Matches reports whether a text contains that of the query, regardless of case.
func (q Query) Matches(text string) bool { return strings.Contains(Fold(text), q.text) }

// letters are those of a folded text.
type letters struct {
	text   string
	starts []int // bytes before each letter, and the length of the text
}

func lettersOf(text string) letters {
	l := letters{text: Fold(text)}
	l.starts = make([]int, 0, len(l.text)+1)
	for start := range l.text {
		l.starts = append(l.starts, start)
	}
	l.starts = append(l.starts, len(l.text))
	return l
}

func (l letters) len() int { return len(l.starts) - 1 }

// part returns n letters from the i-th on, or fewer at the end.
func (l letters) part(i, n int) string { return l.text[l.starts[i]:l.starts[min(i+n, l.len())]] }

// isCJK reports whether the i-th letter is Chinese, Japanese or Korean, whose words are short.
func (l letters) isCJK(i int) bool {
	r, _ := utf8.DecodeRuneInString(l.text[l.starts[i]:])
	return isCJK(r)
}

// isCJK reports whether a letter is Chinese, Japanese or Korean. The blocks are constants, so
// that a new version of Unicode doesn't change them. It may change Fold; recount then repairs
// the index.
func isCJK(r rune) bool {
	switch {
	case r < 0x1100:
		return false
	case r <= 0x11ff, r >= 0x2e80 && r <= 0x9fff, r >= 0xa960 && r <= 0xa97f, r >= 0xac00 && r <= 0xd7ff,
		r >= 0xf900 && r <= 0xfaff, r >= 0x20000 && r <= 0x3ffff:
		return true
	}
	return false
}
