package errcode

// Detail says what is wrong with a request. Text is for people, Reason for programs.
type Detail struct {
	Text
	// Field is the name of the field or parameter as the client writes it, such as
	// "title" or "tag_ids[2]"; empty if the detail concerns no single one.
	Field string
	// Reason is empty if Code says all that a program can use.
	Reason Reason
}

// Invalid returns a detail of a field.
func Invalid(field string, reason Reason, text Text) Detail {
	return Detail{Text: text, Field: field, Reason: reason}
}

// Within returns the detail of a part of a request: path names the part, such as
// "articles[3]".
func (d Detail) Within(path string) Detail {
	field := path
	if d.Field != "" {
		field += "." + d.Field
	}
	return Detail{Text{path + ": " + d.ZH, path + ": " + d.EN, path + ": " + d.ZHHantTW}, field, d.Reason}
}

// Reason says why a field is invalid. The meaning of a published reason never changes.
type Reason string

// Reasons that a field is invalid.
const (
	Required     Reason = "required"      // it is missing, empty, or null
	InvalidType  Reason = "invalid_type"  // another type, or no integer
	TooLong      Reason = "too_long"      // more characters, or items
	TooShort     Reason = "too_short"     // fewer characters, or items
	OutOfRange   Reason = "out_of_range"  // a smaller or larger number
	NotAllowed   Reason = "not_allowed"   // none of the values that are allowed
	Malformed    Reason = "malformed"     // not of the format, such as a URL
	Duplicate    Reason = "duplicate"     // given more than once
	UnknownField Reason = "unknown_field" // no such field, but a similar one
	Unknown      Reason = "unknown"       // it names something that doesn't exist
	Taken        Reason = "taken"         // another object has it
)

// Reasons returns all reasons.
func Reasons() []Reason {
	return []Reason{Required, InvalidType, TooLong, TooShort, OutOfRange, NotAllowed, Malformed, Duplicate, UnknownField, Unknown, Taken}
}
