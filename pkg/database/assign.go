package database

// Assign sets field to the value that a change has for it, and adds its column to
// the columns that the change writes. It does nothing if the value is nil or the
// field has it already.
func Assign[T comparable](columns *[]string, column string, field *T, value *T) {
	if value != nil && *field != *value {
		*field = *value
		*columns = append(*columns, column)
	}
}
