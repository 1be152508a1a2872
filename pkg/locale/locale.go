// Package locale negotiates the language of responses.
package locale

import (
	"context"
	"strings"

	"golang.org/x/text/language"
)

// The supported languages, as in the header "locale". ZH is the default.
const (
	ZH       = "zh"
	EN       = "en"
	ZHHantTW = "zh_Hant_TW"
)

// All returns the supported languages, the default first.
func All() []string { return []string{ZH, EN, ZHHantTW} }

// Negotiator selects a supported language. It is safe for concurrent use.
type Negotiator struct {
	names   []string
	matcher language.Matcher
}

// NewNegotiator returns a negotiator of the supported languages.
func NewNegotiator() *Negotiator {
	return &Negotiator{
		names: All(),
		matcher: language.NewMatcher([]language.Tag{
			language.SimplifiedChinese, language.English, language.MustParse("zh-Hant-TW"),
		}),
	}
}

// maxHeaderLength is the maximum length of a header that is parsed. Browsers send less
// than 200 bytes.
const maxHeaderLength = 1000

// Negotiate returns the best match of the header "locale", such as zh_Hant_TW, zh-TW or
// en-US, else the best match of Accept-Language (RFC 9110, 12.5.4), else ZH.
func (n *Negotiator) Negotiate(header, acceptLanguage string) string {
	for _, wanted := range []string{strings.ReplaceAll(header, "_", "-"), acceptLanguage} {
		if name, ok := n.match(wanted); ok {
			return name
		}
	}
	return ZH
}

func (n *Negotiator) match(wanted string) (name string, ok bool) {
	if wanted == "" || len(wanted) > maxHeaderLength {
		return "", false
	}
	tags, _, err := language.ParseAcceptLanguage(wanted)
	if err != nil {
		return "", false
	}
	_, index, confidence := n.matcher.Match(tags...)
	return n.names[index], confidence != language.No
}

// Tag returns the language tag (BCP 47) of a supported language, for Content-Language.
func Tag(name string) string { return strings.ReplaceAll(name, "_", "-") }

// Key is the key of the language of the response, a string, in a context.
type Key struct{}

// FromContext returns the language of the context, or ZH.
func FromContext(ctx context.Context) string {
	if name, ok := ctx.Value(Key{}).(string); ok {
		return name
	}
	return ZH
}
