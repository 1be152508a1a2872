package file

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	// MaxName is the maximum length of a name, in characters.
	MaxName = 255
	// maxExtension is the maximum length of an extension that stays if a name is shortened.
	maxExtension = 16
	// defaultName is the name of a file whose name has nothing to keep.
	defaultName = "file"
)

// CleanName returns the name of a file as it is stored: the last element of a path, in NFC,
// without characters that control a terminal or the direction of text, at most MaxName
// characters. It is never empty.
func CleanName(name string) string {
	name = strings.ToValidUTF8(name, "\uFFFD")
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == '\u2028', r == '\u2029', r == '\uFEFF':
			return -1
		}
		return r
	}, name)
	name = shorten(strings.TrimSpace(norm.NFC.String(name)))
	if strings.Trim(name, ". ") == "" {
		return defaultName
	}
	return name
}

// shorten keeps the extension of a name that is too long.
func shorten(name string) string {
	if utf8.RuneCountInString(name) <= MaxName {
		return name
	}
	runes := []rune(name)
	var extension []rune
	if dot := strings.LastIndexByte(name, '.'); dot >= 0 && utf8.RuneCountInString(name[dot:]) <= maxExtension {
		extension = []rune(name[dot:])
	}
	return string(runes[:MaxName-len(extension)]) + string(extension)
}
