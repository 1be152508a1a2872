package requests

import (
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/spelling"
)

// IgnoredHeader is the header field of a response that names the fields and
// parameters of the request that this release doesn't know. In a rollout, a client may
// know more than the service.
const IgnoredHeader = "X-Ignored-Fields"

// Bounds of the header field.
const (
	maxIgnored    = 10
	maxIgnoredLen = 40
)

// ReadOnly is implemented by requests whose object has fields that only the service
// sets. A client may write them back as it has read them; they have no effect.
type ReadOnly interface{ ReadOnly() []string }

// Names returns the names that the fields of T have in JSON.
func Names[T any]() []string {
	var names []string
	for f := range fields(reflect.TypeFor[T]()) {
		names = append(names, jsonName(f))
	}
	return names
}

// field returns the field that a client calls name. This is the one place that
// decides what a name means: a field; a field that only the service sets, which is
// skipped; a misspelt field, which is invalid; or one that only other releases have,
// which is ignored and reported.
func (d *destination) field(name string) (field reflect.StructField, ok bool) {
	var names []string
	for f := range fields(d.value.Type()) {
		if d.form && f.Tag.Get("element") != "" { // forms have no objects
			continue
		}
		known := jsonName(f)
		if known == name || d.form && isList(f) && known == withoutIndex(name) {
			return f, true
		}
		names = append(names, known)
	}
	if r, ok := d.dst.(ReadOnly); ok && slices.Contains(r.ReadOnly(), name) {
		return field, false
	}
	if near := spelling.NearestField(name, names); near != "" {
		d.reject(near, misspelt(name, near))
	} else if !slices.Contains(d.ignored, name) && len(d.ignored) <= maxIgnored {
		d.ignored = append(d.ignored, name)
	}
	return field, false
}

func isList(f reflect.StructField) bool { return pointedTo(f.Type).Kind() == reflect.Slice }

var index = regexp.MustCompile(`\[\d*\]$`)

// withoutIndex returns the name of a list in a form without the brackets that
// some programs add, as in tag_ids[]=1 or tag_ids[0]=1.
func withoutIndex(name string) string {
	if at := index.FindStringIndex(name); at != nil {
		return name[:at[0]]
	}
	return name
}

// reportIgnored names the ignored fields in the response.
func (d *destination) reportIgnored(c *gin.Context) {
	if len(d.ignored) == 0 {
		return
	}
	names := make([]string, 0, maxIgnored+1)
	for _, name := range d.ignored[:min(len(d.ignored), maxIgnored)] {
		escaped := url.QueryEscape(name[:min(len(name), maxIgnoredLen)]) // ASCII, without commas
		if name == "" {
			escaped = `""` // which no other name is escaped to
		}
		names = append(names, escaped[:min(len(escaped), maxIgnoredLen)])
	}
	if len(d.ignored) > maxIgnored {
		names = append(names, "...")
	}
	c.Header(IgnoredHeader, strings.Join(names, ", "))
}

func misspelt(given, known string) errcode.Detail {
	quoted := shorten(given)
	return errcode.Invalid(given, errcode.UnknownField, errcode.Text{
		ZH:       "没有字段" + quoted + ", 是否指" + known,
		EN:       "there is no field " + quoted + "; did you mean " + known + "?",
		ZHHantTW: "沒有欄位" + quoted + ", 是否指" + known,
	})
}
