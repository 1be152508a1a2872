package command

import (
	"strconv"
	"strings"
	"unicode"
)

// Printable returns a text in which characters that control a terminal or the direction of text, such
// as those in names of files, are escaped as in Go.
func Printable(text string) string {
	var result strings.Builder
	for _, r := range text {
		if r == '\u2028' || r == '\u2029' || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			quoted := strconv.QuoteRuneToASCII(r)
			result.WriteString(quoted[1 : len(quoted)-1])
		} else {
			result.WriteRune(r)
		}
	}
	return result.String()
}
