package apitest

import (
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// EveryField returns the values for the fields of the request T. It fails the test
// unless values has exactly these fields, so that a test that reads back what it
// has written can't miss a new one.
func EveryField[T any](t testing.TB, values map[string]any) map[string]any {
	t.Helper()
	fields := map[string]any{}
	for i := range reflect.TypeFor[T]().NumField() {
		name, _, _ := strings.Cut(reflect.TypeFor[T]().Field(i).Tag.Get("json"), ",")
		require.Contains(t, values, name, "the test has no value for this field of %s", reflect.TypeFor[T]())
		fields[name] = values[name]
	}
	require.Len(t, fields, len(values), "the test has values for fields that %s has not", reflect.TypeFor[T]())
	return fields
}
