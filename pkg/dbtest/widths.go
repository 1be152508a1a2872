package dbtest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
)

// FitColumns fails the test unless every text field of the request T has, in its
// validate tag, the maximum length of the column of that name. unbounded names
// the fields whose columns have no maximum length. Times are left out.
func FitColumns[T any](t testing.TB, db *database.DB, table string, unbounded ...string) {
	t.Helper()
	types := map[string]string{}
	for _, column := range SchemaOf(t, db)[db.Table(table)].Columns {
		types[column.Name] = column.Type
	}
	for i := range reflect.TypeFor[T]().NumField() {
		field := reflect.TypeFor[T]().Field(i)
		if field.Type != reflect.TypeFor[*string]() {
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if strings.HasSuffix(name, "_at") || field.Tag.Get("format") == "date-time" {
			continue // a time
		}
		require.Contains(t, types, name, "the table %s has no such column", table)
		if slices.Contains(unbounded, name) {
			require.Equal(t, "text", types[name], name)
			continue
		}
		maximum := ""
		for _, rule := range strings.Split(field.Tag.Get("validate"), ",") {
			if value, ok := strings.CutPrefix(rule, "max="); ok {
				maximum = value
			}
		}
		require.Equal(t, types[name], fmt.Sprintf("varchar(%s)", maximum), "%s: the column's type and the rule max", name)
		require.Equal(t, maximum, field.Tag.Get("maxLength"), "%s: the rule max and the API description", name)
	}
}
