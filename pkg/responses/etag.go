package responses

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/locale"
)

// ETag identifies a response with one object, or with a page of objects, together
// with the language of its message.
type ETag struct {
	// Version identifies the state of the object; letters, digits, - and _.
	Version string
	Shape   Shape
	// Object is the id of the object, if it has addresses that may lead to another one later; 0
	// otherwise. Two objects may have the same version.
	Object uint64
	weak   bool
}

// PageETag returns the weak entity tag of a page of objects. The versions identify
// the objects and all that the page shows of them.
func PageETag(shape Shape, pager Pager, versions []string) ETag {
	return ETag{Version: digest(fmt.Appendf(nil, "%v %q", pager, versions)), Shape: shape, weak: true}
}

// Shape identifies the names and types of the fields of a response. A release that
// adds a field has another shape, and so another ETag for the same version.
type Shape string

// ShapeOf returns the shape of T.
func ShapeOf[T any]() Shape {
	var fields strings.Builder
	describe(&fields, reflect.TypeFor[T]())
	return Shape(digest([]byte(fields.String()))[:8])
}

// Only returns the shape of a response with some of the fields.
func (s Shape) Only(names []string) Shape {
	return Shape(digest([]byte(string(s) + " " + strings.Join(names, ",")))[:8])
}

// describe writes the names, options and types of the fields that
// encoding/json would write.
func describe(fields *strings.Builder, t reflect.Type) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t.PkgPath() == "time" {
		fields.WriteString(t.String())
		return
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() {
			fmt.Fprintf(fields, "%s,%s{", f.Name, f.Tag.Get("json"))
			describe(fields, f.Type)
			fields.WriteString("}")
		}
	}
}

// text returns the entity tag in a language.
func (e ETag) text(language string) string {
	object := ""
	if e.Object != 0 {
		object = "-" + strconv.FormatUint(e.Object, 36)
	}
	tag := `"` + e.Version + "." + string(e.Shape) + object + "." + language + `"`
	if e.weak {
		return "W/" + tag
	}
	return tag
}

// versionOf returns the version that an entity tag of an object names, whatever its
// shape, object and language; "" if it is none.
func versionOf(tag string) string {
	tag = original(tag)
	parts := strings.Split(strings.TrimSuffix(strings.TrimPrefix(tag, `"`), `"`), ".")
	if len(parts) != 3 || tag != `"`+strings.Join(parts, ".")+`"` || !slices.Contains(locale.All(), parts[2]) {
		return ""
	}
	return parts[0]
}

// original returns an entity tag as the service sent it. A proxy that compresses a
// response weakens its tag (W/"x"), or adds the encoding to it ("x-gzip"). The
// service's own tags of objects are strong, so nothing is lost.
func original(tag string) string {
	opaque, quoted := strings.CutSuffix(strings.TrimPrefix(tag, "W/"), `"`)
	for trimmed := quoted; trimmed; {
		trimmed = false
		for _, suffix := range []string{"-gzip", "-br", "-zstd", "-deflate", ";gzip"} {
			if rest, found := strings.CutSuffix(opaque, suffix); found {
				opaque, trimmed = strings.TrimSuffix(rest, "-"), true // Jetty writes two dashes
			}
		}
	}
	if quoted {
		opaque += `"`
	}
	return opaque
}

// unquoted returns the first of the tags that is not in double quotes, "" if there is
// none.
func unquoted(tags []string) string {
	for _, tag := range tags {
		bare := strings.TrimPrefix(tag, "W/")
		if tag != "*" && (len(bare) < 2 || bare[0] != '"' || bare[len(bare)-1] != '"') {
			return fmt.Sprintf("%.100s", strconv.QuoteToASCII(tag))
		}
	}
	return ""
}

func notQuoted(tag string) error {
	const example = `"7.8fLqBLpZ.en"`
	return errcode.New(errcode.PreconditionFailed, errcode.Text{
		ZH:       "If-Match 中的 ETag 必须带双引号, 即服务返回的原样, 例如 " + example + ", 而不是 " + tag,
		EN:       "an ETag in If-Match must be in double quotes, exactly as the service sent it, such as " + example + "; not " + tag,
		ZHHantTW: "If-Match 中的 ETag 必須帶雙引號, 即服務傳回的原樣, 例如 " + example + ", 而不是 " + tag,
	})
}

var (
	changedMeanwhile = errcode.Text{
		ZH:       "对象已被修改 (If-Match 与当前 ETag 不符), 请用同一个 Token 重新获取后再试",
		EN:       "the object has changed since (If-Match does not match its current ETag); read it again with the token that you write with",
		ZHHantTW: "物件已被修改 (If-Match 與目前 ETag 不符), 請用同一個 Token 重新取得後再試",
	}
	notWanted = errcode.Text{
		ZH:       "If-None-Match 与该对象相符, 因此不作更改",
		EN:       "If-None-Match matches the object's current ETag, so nothing was changed",
		ZHHantTW: "If-None-Match 與該物件相符, 因此不作變更",
	}
)

// Precondition returns the condition of the headers If-Match and If-None-Match
// on the version of the object to change (RFC 9110, 13.1), nil if there is none.
// The condition must be checked while nobody else can change the object; its
// error carries errcode.PreconditionFailed. The shape and the language of an
// entity tag are ignored: a client may read from one release and write to another.
func Precondition(c *gin.Context) func(version string) error {
	wanted, anyVersion := entityTags(c.Request.Header, "If-Match")
	unwanted, noVersion := entityTags(c.Request.Header, "If-None-Match")
	if anyVersion {
		wanted = nil // an object that doesn't exist is a 404 anyway
	}
	if wanted == nil && unwanted == nil {
		return nil
	}
	return func(version string) error {
		if tag := unquoted(wanted); tag != "" {
			return notQuoted(tag)
		}
		names := func(tag string) bool { return versionOf(tag) == version }
		if wanted != nil && !slices.ContainsFunc(wanted, names) {
			return errcode.New(errcode.PreconditionFailed, changedMeanwhile)
		}
		if noVersion || slices.ContainsFunc(unwanted, names) {
			return errcode.New(errcode.PreconditionFailed, notWanted)
		}
		return nil
	}
}

// RequireMatch returns an errcode.PreconditionFailed error if the header If-Match of a request
// doesn't name the entity tag of the object, which can't change.
func RequireMatch(c *gin.Context, tag string) error {
	wanted, all := entityTags(c.Request.Header, "If-Match")
	if wanted == nil || all || slices.ContainsFunc(wanted, func(one string) bool { return original(one) == tag }) {
		return nil
	}
	return errcode.New(errcode.PreconditionFailed, changedMeanwhile)
}

// digest returns a short name for data; the probability that two share it is
// negligible.
func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// matches reports whether the header If-None-Match of a read names the entity tag
// (RFC 9110, 13.1.2).
func matches(r *http.Request, tag string) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	have, all := entityTags(r.Header, "If-None-Match")
	return all || slices.ContainsFunc(have, func(one string) bool { return original(one) == original(tag) })
}

// entityTags returns the entity tags of a header field, nil if there is no such
// field, and whether it is "*".
func entityTags(header http.Header, name string) (tags []string, all bool) {
	lines := header.Values(name)
	if len(lines) == 0 {
		return nil, false
	}
	// Splitting at commas is safe: our tags contain none, and foreign tags match
	// nothing anyway.
	tags = strings.Split(strings.Join(lines, ","), ",")
	for i := range tags {
		tags[i] = strings.TrimSpace(tags[i])
	}
	return tags, len(tags) == 1 && tags[0] == "*"
}
