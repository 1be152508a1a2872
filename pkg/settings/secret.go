package settings

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
)

const mask = "******"

// Secret is a text that is printed, formatted, marshalled and logged as asterisks. Only [Secret.Reveal] returns the text.
type Secret string

// Reveal returns the text.
func (s Secret) Reveal() string { return string(s) }

// String returns asterisks, or nothing when the secret is empty.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return mask
}

// GoString returns what String returns, in quotes.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// Format writes asterisks for every verb. Without it, %d would print the text as a bad verb's value.
func (s Secret) Format(state fmt.State, verb rune) {
	text := s.String()
	if verb == 'q' || verb == 'v' && state.Flag('#') {
		text = s.GoString()
	}
	_, _ = io.WriteString(state, text)
}

// MarshalText returns asterisks, or nothing when the secret is empty.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON returns asterisks, or the empty text when the secret is empty.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }
