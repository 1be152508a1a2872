package service

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/achilles-blog/achilles/scaffold/fields"
)

// Resource is what the templates are executed with.
type Resource struct {
	Module  string // path of the repository's modules
	Service string
	Name    string // of one object, as in tables
	Plural  string
	Path    string // of the list, such as /api/v1/comments
	Fields  []Field
	First   bool   // whether it is the first of its service, which has the packages api and store
	Number  int    // the two digits by which its error codes differ from those of others
	Version string // the number of its migration
	// Port and AdminPort are those of the service.
	Port, AdminPort int
	// Follows is the first resource of the service whose feed the service of this one follows, or nil.
	Follows *Resource
	zh, tw  string
}

// follow makes the service of r follow the feed of another resource.
func (r *Resource) follow(followed Resource) {
	r.Follows = &followed
	for i := range r.Fields {
		r.Fields[i].reference = r.Fields[i].Type == fields.Uint64 && r.Fields[i].Name == followed.Name+"_id"
	}
}

// Reference returns the field that has the id of an object of the followed service, or nil.
func (r Resource) Reference() *Field {
	for _, f := range r.Fields {
		if f.reference {
			return &f
		}
	}
	return nil
}

// Base is the variable of the service in the package bootstrap.
func (r Resource) Base() string {
	if r.Reference() != nil {
		return "p"
	}
	return "base"
}

// NilCatchUp is an argument of NewService in tests.
func (r Resource) NilCatchUp() string {
	if r.Reference() != nil {
		return ", nil"
	}
	return ""
}

// Trips is the number of round trips of a write, n without a reference.
func (r Resource) Trips(n int) int {
	if r.Reference() != nil {
		n++
	}
	return n
}

// newResource returns a resource with its fields.
func newResource(name, plural string, all []fields.Field) Resource {
	r := Resource{Name: name, Plural: plural, Path: "/api/v1/" + plural}
	for _, f := range all {
		r.Fields = append(r.Fields, Field{Field: f, resource: name})
	}
	return r
}

// Type is the name of the resource in Go.
func (r Resource) Type() string { return fields.GoName(r.Name) }

// Types is its plural in Go.
func (r Resource) Types() string { return fields.GoName(r.Plural) }

// A is the indefinite article of the name.
func (r Resource) A() string { return fields.Article(r.Name) }

// AnA is that article at the beginning of a sentence.
func (r Resource) AnA() string { return strings.ToUpper(r.A()[:1]) + r.A()[1:] }

// V is the name of a variable for one object: its first letter, unless templates use that.
func (r Resource) V() string {
	if first := r.Name[:1]; strings.Contains("bhjotvwxyz", first) {
		return first
	}
	return "one"
}

// API is the package that serves it.
func (r Resource) API() string {
	if r.First {
		return "api"
	}
	return r.Name + "api"
}

// StorePackage is the package that stores it.
func (r Resource) StorePackage() string {
	if r.First {
		return "store"
	}
	return r.Name + "store"
}

// State reports whether it has a state.
func (r Resource) State() bool {
	return slices.ContainsFunc(r.Fields, func(f Field) bool { return f.Type == fields.State })
}

// Unique returns the field that is unique, or nil.
func (r Resource) Unique() *Field {
	for _, f := range r.Fields {
		if f.Unique {
			return &f
		}
	}
	return nil
}

func (r Resource) only(is func(Field) bool) (found []Field) {
	for _, f := range r.Fields {
		if is(f) {
			found = append(found, f)
		}
	}
	return found
}

// Filters are the fields that lists can be filtered by, beside the state.
func (r Resource) Filters() []Field { return r.only(Field.filters) }

// ManyFilters reports whether there are several.
func (r Resource) ManyFilters() bool { return len(r.Filters()) > 1 }

// HasFilter reports whether lists can be filtered.
func (r Resource) HasFilter() bool { return r.State() || len(r.Filters()) > 0 }

// Short are the fields that the feed has: all but texts.
func (r Resource) Short() []Field {
	return r.only(func(f Field) bool { return f.Type != fields.Text })
}

// Texts are the fields that the feed lacks.
func (r Resource) Texts() []Field {
	return r.only(func(f Field) bool { return f.Type == fields.Text })
}

// Strings are the fields whose sizes differ.
func (r Resource) Strings() []Field {
	return r.only(func(f Field) bool { return f.Type == fields.Text || f.Type == fields.String })
}

// ShortStrings are those of them that the feed has.
func (r Resource) ShortStrings() []Field {
	return r.only(func(f Field) bool { return f.Type == fields.String })
}

// Times are the fields that are times.
func (r Resource) Times() []Field { return r.only(Field.IsTime) }

// ShortTime reports whether the feed has a time.
func (r Resource) ShortTime() bool { return len(r.Times()) > 0 }

// Lines lists the names of the fields that are trimmed, for a sentence.
func (r Resource) Lines() string { return enumerate(r.ShortStrings()) }

// FilterLines names those of them that lists can be filtered by.
func (r Resource) FilterLines() string {
	return enumerate(r.only(func(f Field) bool { return f.Type == fields.String && f.filters() }))
}

// Needs names the fields that a new object must have.
func (r Resource) Needs() string {
	needed := r.only(Field.Required)
	if len(needed) == 0 {
		return "nothing"
	}
	return enumerate(needed)
}

func enumerate(all []Field) string {
	var names []string
	for _, f := range all {
		names = append(names, f.Name)
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// Columns are the columns of the fields, separated by commas.
func (r Resource) Columns() string {
	var names []string
	for _, f := range r.Fields {
		names = append(names, f.Column())
	}
	return strings.Join(names, ", ")
}

// ChangeColumns is the number of values of a change.
func (r Resource) ChangeColumns() int { return 2 + len(r.Short()) }

// Counters are the columns of the numbers of objects.
func (r Resource) Counters() []string {
	if r.State() {
		return []string{"enabled_" + r.Plural, "disabled_" + r.Plural}
	}
	return []string{r.Plural}
}

// Index is an index of the table.
type Index struct{ Name, Columns string }

// Indexes are those of lists.
func (r Resource) Indexes() (all []Index) {
	add := func(columns ...string) {
		all = append(all, Index{strings.Join(columns, "_"), strings.Join(columns, ", ")})
	}
	add("is_deleted")
	if r.State() {
		add("is_deleted", "state")
	}
	columns := []string{"created_at"}
	for _, f := range r.Filters() {
		if f.Unique {
			continue // active_… is indexed
		}
		columns = append(columns, f.Column())
	}
	for _, column := range columns {
		add("is_deleted", column)
		if r.State() {
			add("is_deleted", "state", column)
		}
	}
	return all
}

// characters is the number of characters of all fields, at most.
func (r Resource) characters(of []Field) (sum int) {
	for _, f := range of {
		sum += fields.Characters([]fields.Field{f.Field})
	}
	return sum
}

// Large reports whether a body may have more than 8 KiB, which needs memory of its own.
func (r Resource) Large() bool { return r.Escaped() > 7<<10 }

// Escaped is the number of bytes of a body in JSON, if everything is escaped.
func (r Resource) Escaped() int { return 12 * r.characters(r.Strings()) }

// SizeKB is the memory that one takes, at most, in KiB.
func (r Resource) SizeKB() int { return sizeKB(r.characters(r.Strings())) }

// ChangeKB is the memory that a change takes, at most, in KiB.
func (r Resource) ChangeKB() int { return sizeKB(r.characters(r.ShortStrings())) }

// ChangeSize is the name of that size in Go.
func (r Resource) ChangeSize() string {
	if len(r.Texts()) > 0 {
		return "changeSize"
	}
	return r.Name + "Size"
}

func sizeKB(characters int) int { return (4*characters+512)>>10 + 1 }

// Codes are numbers of the resource's codes.
func (r Resource) Codes() struct{ NotFound, Exists int } {
	return struct{ NotFound, Exists int }{r.Code(7), r.Code(8)}
}

// Code is the nth code of the resource.
func (r Resource) Code(n int) int { return 20_000_000 + 10_000*r.Number + n }

// ZH is the name in messages in simplified Chinese.
func (r Resource) ZH() string { return cmp.Or(r.zh, r.Name) }

// TW is the name in messages in traditional Chinese.
func (r Resource) TW() string { return cmp.Or(r.tw, r.Name) }

// Field is a field in the templates.
type Field struct {
	fields.Field
	resource, example string
	reference         bool // to an object of the followed service
}

// Known is the number of objects that tests refer to, whose ids begin with 1.
func (f Field) Known() int {
	if f.Unique {
		return 2100 // each object of a test has its own
	}
	return 9
}

// FeedType is the type in the feed of another service.
func (f Field) FeedType() string {
	if f.Type == fields.State {
		return "uint8"
	}
	return f.GoType()
}

// FeedSample is an expression of Go for the value after the nth change, in a test of a feed.
func (f Field) FeedSample() string {
	switch f.Type {
	case fields.Uint64:
		return "uint64(n)"
	case fields.State:
		return "uint8(n % 2)"
	default:
		return f.DraftSample()
	}
}

func (f Field) filters() bool {
	switch f.Type {
	case fields.Uint64, fields.Int64, fields.Bool:
		return true
	case fields.String:
		return f.Size <= fields.MaxFiltered
	default:
		return false
	}
}

// Required reports whether a new object must have the field.
func (f Field) Required() bool { return f.Type != fields.State && !f.Optional }

// QuerySample is a value in a query.
func (f Field) QuerySample() string {
	if f.Type == fields.Bool {
		return "true"
	}
	return "1"
}

// IsTime reports whether the field is a time.
func (f Field) IsTime() bool { return f.Type == fields.Time }

// Go is the name in Go.
func (f Field) Go() string { return fields.GoName(f.Name) }

// Column is the name in SQL.
func (f Field) Column() string { return f.Name }

// GoPlural is the plural in Go.
func (f Field) GoPlural() string { return fields.GoName(fields.Plural(f.Name)) }

// Local is the name of a variable.
func (f Field) Local() string {
	first, rest, _ := strings.Cut(f.Name, "_")
	if rest == "" {
		return first
	}
	return first + fields.GoName(rest)
}

// GoType is the type in the domain.
func (f Field) GoType() string {
	switch f.Type {
	case fields.String, fields.Text:
		return "string"
	case fields.Time:
		return "time.Time"
	case fields.State:
		return "State"
	default:
		return string(f.Type)
	}
}

// RowType is the type in a row.
func (f Field) RowType() string {
	if f.Type == fields.State {
		return f.resource + ".State"
	}
	return f.GoType()
}

// NullType is the type of a column that may be null.
func (f Field) NullType() string { return "sql.Null[" + f.RowType() + "]" }

// ResponseType is the type in responses.
func (f Field) ResponseType() string {
	if f.Type == fields.State {
		return "int"
	}
	return f.GoType()
}

// RequestType is the type in requests.
func (f Field) RequestType() string {
	switch f.Type {
	case fields.State:
		return "int"
	case fields.Time:
		return "string"
	default:
		return f.GoType()
	}
}

// Example is an example of a value.
func (f Field) Example() string {
	if f.example != "" {
		return f.example
	}
	switch f.Type {
	case fields.Uint64, fields.State:
		return "1"
	case fields.Int64:
		return "-1"
	case fields.Bool:
		return "true"
	case fields.Time:
		return "2026-01-02T03:04:05.678Z"
	default:
		return strings.ReplaceAll(f.Name, "_", " ")[:min(len(f.Name), f.size())]
	}
}

// size is the maximum number of characters.
func (f Field) size() int {
	if f.Type == fields.Text {
		return fields.MaxText
	}
	return f.Size
}

// ResponseTags are the tags of a response.
func (f Field) ResponseTags() string {
	switch tags := fmt.Sprintf(" example:%q", f.Example()); f.Type {
	case fields.State:
		return tags + ` enums:"0,1"`
	case fields.Time:
		return tags + ` format:"date-time"`
	default:
		return tags
	}
}

const maxUint = "9223372036854775807"

// CreateTags are the tags of a request that creates.
func (f Field) CreateTags() string {
	if f.Required() {
		return f.requestTags("required")
	}
	return f.requestTags("omitempty")
}

// UpdateTags are the tags of a request that changes.
func (f Field) UpdateTags() string { return f.requestTags("omitempty") }

func (f Field) requestTags(first string) string {
	example := fmt.Sprintf(" example:%q", f.Example())
	switch f.Type {
	case fields.String, fields.Text:
		rules, text, null, least := first+",notblank", "nfc,trim,line", "", ` minLength:"1"`
		if f.Type == fields.Text {
			text = "nfc"
		}
		if f.Optional {
			rules, null, least = first, f.clearTags(), ""
		}
		return fmt.Sprintf(` validate:"%s,max=%d" text:%q%s%s maxLength:"%d"%s`, rules, f.size(), text, null, least, f.size(), example)
	case fields.Uint64:
		return fmt.Sprintf(` validate:"%s,max=%s"%s%s`, first, maxUint, f.clearTags(), example)
	case fields.State:
		return ` validate:"omitempty,oneof=0 1" enums:"0,1"` + example
	case fields.Time:
		return fmt.Sprintf(` validate:"%s" format:"date-time"%s`, first, example)
	default:
		return fmt.Sprintf(` validate:"%s"%s%s`, first, f.clearTags(), example)
	}
}

// clearTags are the tags by which null empties a field.
func (f Field) clearTags() string {
	if !f.Optional || f.Type == fields.Bool {
		return ""
	}
	return ` null:"clear" extensions:"x-nullable"`
}

func (f Field) integer() bool { return f.Type == fields.Uint64 || f.Type == fields.Int64 }

// FilterTags are the tags of a filter.
func (f Field) FilterTags() string {
	switch f.Type {
	case fields.String:
		return fmt.Sprintf(` validate:"omitempty,max=%d" text:"nfc,trim"`, f.Size)
	case fields.Uint64:
		return ` validate:"omitempty,max=` + maxUint + `"`
	default:
		return ""
	}
}

// ParamType is the type of a filter in the API description.
func (f Field) ParamType() string {
	switch f.Type {
	case fields.String:
		return "string"
	case fields.Bool:
		return "boolean"
	default:
		return "integer"
	}
}

// ParamBounds are the bounds of a filter in the API description.
func (f Field) ParamBounds() string {
	switch f.Type {
	case fields.String:
		return fmt.Sprintf(" maxLength(%d)", f.Size)
	case fields.Uint64:
		return " minimum(0)"
	default:
		return ""
	}
}

// Comment is the comment of a field in a request that creates.
func (f Field) Comment() string {
	switch {
	case f.Type == fields.State:
		return "1 enabled, 0 disabled; enabled when left out"
	case f.Type == fields.Time:
		return "as in RFC 3339, or a date, which is its first moment in UTC"
	case f.Optional && f.Type == fields.Bool:
		return "false when left out"
	case f.Optional && f.integer():
		return "0 when left out, or null"
	case f.Optional:
		return "empty when left out, or null"
	default:
		return ""
	}
}

// UpdateComment is the comment of a field in a request that changes.
func (f Field) UpdateComment() string {
	switch {
	case f.Type == fields.State:
		return "1 enabled, 0 disabled"
	case f.Type == fields.Time:
		return f.Comment()
	case f.Optional && f.integer():
		return "null is 0"
	case f.Optional && f.Type != fields.Bool:
		return "null empties it"
	default:
		return ""
	}
}

// ToResponse is the expression of a response's value.
func (f Field) ToResponse(variable string) string {
	value := variable + "." + f.Go()
	switch f.Type {
	case fields.State:
		return "int(" + value + ")"
	default:
		return value
	}
}

// ToDraft is the expression of a draft's value.
func (f Field) ToDraft() string {
	switch f.Type {
	case fields.State:
		return "newState(r.State)"
	case fields.Time:
		return "requests.StoredTime(r." + f.Go() + ")"
	default:
		return "r." + f.Go()
	}
}

// MySQLType returns the type of a column in MySQL.
func (Resource) MySQLType(f Field) string {
	switch f.Type {
	case fields.String:
		return fmt.Sprintf("varchar(%d)", f.Size)
	case fields.Uint64:
		return "bigint unsigned"
	case fields.Int64:
		return "bigint"
	case fields.Bool, fields.State:
		return "tinyint unsigned"
	case fields.Time:
		return "datetime(3)"
	default:
		return "text"
	}
}

// SQLiteType returns the type of a column in SQLite.
func (r Resource) SQLiteType(f Field) string {
	return strings.TrimSuffix(strings.TrimSuffix(r.MySQLType(f), " unsigned"), "(3)")
}

// MySQL returns the definition of a column in MySQL.
func (r Resource) MySQL(f Field) string { return r.MySQLType(f) + " NOT NULL" + columnDefault(f) }

// SQLite returns the definition of a column in SQLite.
func (r Resource) SQLite(f Field) string { return r.SQLiteType(f) + " NOT NULL" + columnDefault(f) }

func columnDefault(f Field) string {
	if f.Type == fields.State {
		return " DEFAULT 1"
	}
	return ""
}

var column = regexp.MustCompile(`^    ([a-z][a-z0-9_]*) +(.*?) +((?:NOT NULL|GENERATED).*)$`)

// alignSQL aligns the columns of tables.
func alignSQL(text string) string {
	lines := strings.Split(text, "\n")
	for from := 0; from < len(lines); from++ {
		to := from
		var names, types int
		for ; to < len(lines) && column.MatchString(lines[to]); to++ {
			parts := column.FindStringSubmatch(lines[to])
			names = max(names, len(parts[1]))
			if strings.HasPrefix(parts[3], "NOT") {
				types = max(types, len(parts[2]))
			}
		}
		for i := from; i < to; i++ {
			parts := column.FindStringSubmatch(lines[i])
			width := types
			if !strings.HasPrefix(parts[3], "NOT") {
				width = 0
			}
			lines[i] = fmt.Sprintf("    %-*s %-*s %s", names, parts[1], width, parts[2], parts[3])
		}
		from = max(from, to)
	}
	return strings.Join(lines, "\n")
}

// Sample is an expression of Go for the value of the nth object in a test of the API.
func (f Field) Sample() string {
	switch f.Type {
	case fields.Time:
		return `time.UnixMilli(1_750_000_000_000 + int64(n)).UTC().Format("2006-01-02T15:04:05.000Z")`
	case fields.Uint64:
		if f.reference {
			return fmt.Sprintf("1 + n%%%d", f.Known())
		}
		return "1 + n"
	case fields.Int64:
		return "-n"
	case fields.State:
		return "1"
	default:
		return f.DraftSample()
	}
}

// DraftSample is one in a test of the store.
func (f Field) DraftSample() string {
	switch f.Type {
	case fields.String, fields.Text:
		if f.size() < len(f.Name)+6 {
			return "string(rune('一' + n))"
		}
		return fmt.Sprintf("fmt.Sprint(%q, n)", strings.ReplaceAll(f.Name, "_", " ")+" ")
	case fields.Uint64:
		if f.reference {
			return fmt.Sprintf("uint64(1 + n%%%d)", f.Known())
		}
		return "uint64(1 + n)"
	case fields.Int64:
		return "int64(-n)"
	case fields.Bool:
		return "n%2 == 0"
	case fields.Time:
		return "time.UnixMilli(1_750_000_000_000 + int64(n)).UTC()"
	default:
		return f.resource + ".Enabled"
	}
}

// Longest is an expression for the largest value.
func (f Field) Longest() string {
	switch f.Type {
	case fields.String, fields.Text:
		return fmt.Sprintf("strings.Repeat(\"🦄\", %d)", f.size())
	case fields.Uint64, fields.Int64:
		return maxUint
	case fields.Bool:
		return "true"
	case fields.Time:
		return `"9999-12-31T23:59:59.999Z"`
	default:
		return "0"
	}
}

// Invalid is a value that is rejected, an expression of Go, and the reason.
type Invalid struct{ Value, Reason string }

// Invalid are values that the field rejects.
func (f Field) Invalid() (all []Invalid) {
	if !f.Optional && f.Type != fields.State {
		all = append(all, Invalid{"nil", "required"})
	}
	switch f.Type {
	case fields.String, fields.Text:
		all = append(all, Invalid{"7", "invalid_type"}, Invalid{fmt.Sprintf("strings.Repeat(\"🦄\", %d)", f.size()+1), "too_long"})
		if !f.Optional {
			all = append(all, Invalid{`" "`, "required"})
		}
		if f.Type == fields.String {
			all = append(all, Invalid{`"a\nb"`, "malformed"})
		}
	case fields.Uint64:
		all = append(all, Invalid{`"x"`, "invalid_type"}, Invalid{"uint64(1 << 63)", "out_of_range"})
	case fields.Int64, fields.Bool:
		all = append(all, Invalid{`"x"`, "invalid_type"})
	case fields.Time:
		all = append(all, Invalid{`"yesterday"`, "malformed"}, Invalid{`"0999-12-31"`, "out_of_range"}, Invalid{"7", "invalid_type"})
	case fields.State:
		all = append(all, Invalid{"2", "not_allowed"}, Invalid{`"x"`, "invalid_type"})
	}
	return all
}

// Changed is the first field beside the state, whose values tests change.
func (r Resource) Changed() Field {
	return r.only(func(f Field) bool { return f.Type != fields.State })[0]
}
