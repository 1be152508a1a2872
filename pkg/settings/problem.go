package settings

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// problem is an error of one setting.
type problem struct {
	key     string
	got     string
	allowed string
	note    string // replaces got and allowed
	from    string
}

// account matches the account in a URL or DSN, which may have a password. In a list it matches everything before the last one.
var account = regexp.MustCompile(`(?s)^([a-z]+://)?.*@`)

func (p *problem) Error() string {
	text := p.note
	if text == "" {
		text = fmt.Sprintf("%s is not allowed; it must be %s", shown(account.ReplaceAllString(p.got, "$1"+mask+"@")), p.allowed)
	}
	if p.key != "" {
		text = p.key + ": " + text
	}
	if p.from != "" {
		text += " (from " + p.from + ")"
	}
	return text
}

// Invalid returns the error for an invalid value: got is the value, allowed describes the valid ones, as in
//
//	Server.HttpPort: 70000 is not allowed; it must be a port from 0 to 65535
//
// In the Validate method of a section, key is relative to the section ("HttpPort"). [Load] adds the section and the source of
// the value.
func Invalid(key, got, allowed string) error {
	return &problem{key: key, got: got, allowed: allowed}
}

// shown quotes values that are empty or contain line breaks.
func shown(got string) string {
	if got == "" || strings.ContainsFunc(got, unicode.IsControl) {
		return strconv.Quote(got)
	}
	return got
}

// flatten returns the errors that errors.Join has joined.
func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || err.Error() != errors.Join(joined.Unwrap()...).Error() { // it has several %w, and its own text
		return []error{err}
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, flatten(one)...)
	}
	return all
}
