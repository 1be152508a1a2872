package spelling

import (
	"strings"
	"unicode"
)

// Nearest returns the name of which word is most likely a misspelling, or "" if no
// name is similar.
func Nearest(word string, of []string) string {
	best, least := "", max(2, len(word)/4)+1
	for _, name := range of {
		if d := Distance(strings.ToLower(word), strings.ToLower(name)); d < least {
			best, least = name, d
		}
	}
	return best
}

// NearestField returns the name of the field that an unknown one most probably is meant
// to be, or "". A name is near if it differs in case or punctuation, is a plural or
// singular, is the beginning of the other, or has at most two letters wrong (one, if it
// is short).
func NearestField(unknown string, names []string) string {
	const longest = 64 // the time of the comparison grows with the length
	if len(unknown) > longest {
		return ""
	}
	unknown, _, _ = strings.Cut(unknown, "[")
	given := letters(unknown)
	best, least := "", far
	for _, name := range names {
		if d := distance(unknown, given, letters(name)); d < least {
			best, least = name, d
		}
	}
	return best
}

// far is a distance above that of any two names that are near.
const far = 1000

// distance returns how far given, which are the letters of unknown, is from known; far
// if it is another word.
func distance(unknown, given, known string) int {
	shorter := min(len(given), len(known))
	if shorter >= 3 && strings.HasPrefix(known, strings.TrimSuffix(given, "s")) {
		d := len(known) - len(given) + 1
		if strings.HasSuffix(known, "s") != strings.HasSuffix(given, "s") {
			d += 2 // tags is tag_ids rather than tag_id
		}
		return d
	}
	if shorter >= 3 && strings.HasPrefix(given, known) {
		if newWord(unknown, len(known)) {
			return far
		}
		return len(given) - len(known)
	}
	allowed := 2
	switch {
	case shorter < 3:
		allowed = 0
	case shorter < 5:
		allowed = 1
	}
	if d := Distance(given, known); d <= allowed {
		return d
	}
	return far
}

// letters returns the letters and digits of a name in lower case.
func letters(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, name)
}

// newWord reports whether a new word begins in name after so many letters, as in
// content_type or contentType after content.
func newWord(name string, after int) bool {
	lower := false // the letter before
	for _, r := range name {
		isLetter := unicode.IsLetter(r) || unicode.IsDigit(r)
		switch {
		case after > 0 && isLetter:
			after -= len(string(unicode.ToLower(r)))
		case after <= 0 && isLetter:
			return lower && unicode.IsUpper(r)
		case after <= 0:
			return r != ' '
		}
		lower = unicode.IsLower(r)
	}
	return false
}
