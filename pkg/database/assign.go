package database

import "time"

// Assign sets field to the value that a change has for it, and adds its column to
// the columns that the change writes. It does nothing if the value is nil or the
// field has it already.
func Assign[T comparable](columns *[]string, column string, field *T, value *T) {
	if value != nil && *field != *value {
		*field = *value
		*columns = append(*columns, column)
	}
}

// AssignTime is like Assign for a time: the same moment in another location is no change.
func AssignTime(columns *[]string, column string, field *time.Time, value *time.Time) {
	if value != nil && !field.Equal(*value) {
		*field = *value
		*columns = append(*columns, column)
	}
}
