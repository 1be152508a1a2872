package settings

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// problem is one thing that is wrong with one key.
type problem struct {
	key     string
	got     string
	allowed string
	note    string // in place of got and allowed
	from    string
}

func (p *problem) Error() string {
	text := p.note
	if text == "" {
		text = fmt.Sprintf("%s is not allowed: %s", shown(p.got), p.allowed)
	}
	if p.key != "" {
		text = p.key + ": " + text
	}
	if p.from != "" {
		text += " (from " + p.from + ")"
	}
	return text
}

// Invalid is the error for a value that a setting must not have: got is that value, allowed says what would do, as in
//
//	Server.HttpPort: 70000 is not allowed: a port from 0 to 65535
//
// The Validate method of a section names its own key ("HttpPort"), that of the whole configuration the full one. [Load] adds
// the section and where the value came from.
func Invalid(key, got, allowed string) error {
	return &problem{key: key, got: got, allowed: allowed}
}

// shown keeps an error on one line and makes an empty value visible.
func shown(got string) string {
	if got == "" || strings.ContainsFunc(got, unicode.IsControl) {
		return strconv.Quote(got)
	}
	return got
}

// flatten takes apart what errors.Join put together.
func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || err.Error() != errors.Join(joined.Unwrap()...).Error() { // the text around several %w must not get lost
		return []error{err}
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, flatten(one)...)
	}
	return all
}
