// Package locale decides in which language a client is answered.
package locale

import (
	"context"
	"strings"

	"golang.org/x/text/language"
)

// The languages that Achilles speaks, as clients name them in the header
// "locale". ZH is the default.
const (
	ZH       = "zh"
	EN       = "en"
	ZHHantTW = "zh_Hant_TW"
)

// All are the languages, the default first.
func All() []string { return []string{ZH, EN, ZHHantTW} }

// Negotiator matches what clients ask for against what Achilles speaks. It is
// built once and safe for concurrent use.
type Negotiator struct {
	names   []string
	matcher language.Matcher
}

// NewNegotiator returns the negotiator of the three languages.
func NewNegotiator() *Negotiator {
	return &Negotiator{
		names: All(),
		matcher: language.NewMatcher([]language.Tag{
			language.SimplifiedChinese, language.English, language.MustParse("zh-Hant-TW"),
		}),
	}
}

// Negotiate returns the language of an answer: what the header "locale" names
// if Achilles speaks it, else the best match of Accept-Language (RFC 9110,
// 12.5.4), else ZH. Neither header can make it fail.
func (n *Negotiator) Negotiate(header, acceptLanguage string) string {
	for _, name := range n.names {
		if strings.EqualFold(strings.ReplaceAll(strings.TrimSpace(header), "-", "_"), name) {
			return name
		}
	}
	// ParseAcceptLanguage is linear, but a header may be as long as the server
	// allows; what a browser sends is below 200 bytes.
	if acceptLanguage == "" || len(acceptLanguage) > 1000 {
		return ZH
	}
	tags, _, err := language.ParseAcceptLanguage(acceptLanguage)
	if err != nil {
		return ZH
	}
	_, index, confidence := n.matcher.Match(tags...)
	if confidence == language.No {
		return ZH
	}
	return n.names[index]
}

type contextKey struct{}

// NewContext returns a context that carries the language of the answer.
func NewContext(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, contextKey{}, name)
}

// FromContext returns the language that the context carries, else ZH.
func FromContext(ctx context.Context) string {
	if name, ok := ctx.Value(contextKey{}).(string); ok {
		return name
	}
	return ZH
}
