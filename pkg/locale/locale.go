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

// Negotiate returns the language in the header "locale" if it is supported, else the
// best match of Accept-Language (RFC 9110, 12.5.4), else ZH.
func (n *Negotiator) Negotiate(header, acceptLanguage string) string {
	for _, name := range n.names {
		if strings.EqualFold(strings.ReplaceAll(strings.TrimSpace(header), "-", "_"), name) {
			return name
		}
	}
	// Browsers send less than 200 bytes.
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

// NewContext returns a context with the language of the response.
func NewContext(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, contextKey{}, name)
}

// FromContext returns the language of the context, or ZH.
func FromContext(ctx context.Context) string {
	if name, ok := ctx.Value(contextKey{}).(string); ok {
		return name
	}
	return ZH
}
