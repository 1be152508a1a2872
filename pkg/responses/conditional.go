package responses

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/locale"
)

var changedMeanwhile = errcode.Text{
	ZH:       "对象已被修改 (If-Match 与当前 ETag 不符), 请用同一个 Token 重新获取后再试",
	EN:       "the object has changed (If-Match is not its current ETag); get it again, with the same token, then try again",
	ZHHantTW: "物件已被修改 (If-Match 與目前 ETag 不符), 請用同一個 Token 重新取得後再試",
}

var notWanted = errcode.Text{
	ZH:       "If-None-Match 与该对象相符, 因此不作更改",
	EN:       "If-None-Match is met by the object, so it is left as it is",
	ZHHantTW: "If-None-Match 與該物件相符, 因此不作變更",
}

// Precondition returns what a client demands of the object it wants to change:
// that it looks, by show, like one whose ETag the header If-Match names, and
// like none of If-None-Match (RFC 9110, 13.1). The condition returns
// errcode.PreconditionFailed when it does not, and is to be asked while nobody
// else can change the object. It is nil when the client demands nothing.
func Precondition[T, D any](c *gin.Context, show func(T) D) func(current T) error {
	wanted, anyOne := entityTags(c.Request.Header, "If-Match")
	unwanted, none := entityTags(c.Request.Header, "If-None-Match")
	if anyOne {
		wanted = nil // that the object is there is told by the 404 otherwise
	}
	if wanted == nil && unwanted == nil {
		return nil
	}
	return func(current T) error {
		now := digest(encode(show(current)))
		if wanted != nil && !slices.ContainsFunc(wanted, func(tag string) bool { return identifies(tag, now) }) {
			return errcode.New(errcode.PreconditionFailed, changedMeanwhile)
		}
		if none || slices.ContainsFunc(unwanted, func(tag string) bool { return identifies(strings.TrimPrefix(tag, "W/"), now) }) {
			return errcode.New(errcode.PreconditionFailed, notWanted)
		}
		return nil
	}
}

// strongTag changes with the object and with the language of the answer, whose
// message is in it.
func strongTag(c *gin.Context, encoded []byte) string {
	return `"` + digest(encoded) + "." + locale.FromContext(c.Request.Context()) + `"`
}

// identifies tells whether a strong tag is that of the object, in whatever
// language the client read it.
func identifies(tag, digest string) bool {
	return slices.ContainsFunc(locale.All(), func(language string) bool { return tag == `"`+digest+"."+language+`"` })
}

func weakTag(encoded []byte) string { return `W/"` + digest(encoded) + `"` }

// digest is a short name for JSON; two different texts share it with a
// probability of nothing.
func digest(encoded []byte) string {
	sum := sha256.Sum256(encoded)
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

func encode(value any) []byte {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic(err) // an answer is made of texts, numbers and times
	}
	return encoded
}

// known tells whether the client has shown by If-None-Match that it has the
// answer with this tag (RFC 9110, 13.1.2).
func known(r *http.Request, tag string) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	have, all := entityTags(r.Header, "If-None-Match")
	weak := strings.TrimPrefix(tag, "W/")
	return all || slices.ContainsFunc(have, func(one string) bool { return strings.TrimPrefix(one, "W/") == weak })
}

// entityTags are those of a header field, and whether it is "*". What is no
// entity tag matches nothing; nil means that there is no such field.
func entityTags(header http.Header, name string) (tags []string, all bool) {
	lines := header.Values(name)
	if len(lines) == 0 {
		return nil, false
	}
	// The tags made here have no commas; another's, cut in two, match nothing.
	tags = strings.Split(strings.Join(lines, ","), ",")
	for i := range tags {
		tags[i] = strings.TrimSpace(tags[i])
	}
	return tags, len(tags) == 1 && tags[0] == "*"
}
