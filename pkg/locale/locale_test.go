package locale_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/locale"
)

func TestNegotiate(t *testing.T) {
	n := locale.NewNegotiator()
	cases := map[string]struct{ header, accept, want string }{
		"no header":                  {"", "", "zh"},
		"header wins":                {"en", "zh-TW", "en"},
		"header in upper case":       {"EN", "", "en"},
		"header with hyphens":        {"zh-Hant-TW", "", "zh_Hant_TW"},
		"header of a region":         {"en-US", "zh", "en"},
		"header of Taiwan":           {"zh-TW", "en", "zh_Hant_TW"},
		"header of Taiwan, as POSIX": {"zh_TW", "en", "zh_Hant_TW"},
		"header of Hong Kong":        {"zh-HK", "en", "zh_Hant_TW"},
		"header of a script":         {"zh-Hans", "en", "zh"},
		"header with spaces":         {" en ", "", "en"},
		"header of many languages":   {"fr, en;q=0.5", "zh", "en"},
		"long header":                {strings.Repeat("en,", 1000), "zh-TW", "zh_Hant_TW"},
		"unknown header":             {"fr", "en", "en"},
		"unknown header only":        {"klingon", "", "zh"},
		"browser in English":         {"", "en-US,en;q=0.9", "en"},
		"browser in Taiwan":          {"", "zh-TW,zh;q=0.9,en;q=0.8", "zh_Hant_TW"},
		"browser in Hong Kong":       {"", "zh-HK", "zh_Hant_TW"},
		"browser in mainland China":  {"", "zh-CN,zh;q=0.9", "zh"},
		"weights":                    {"", "zh;q=0.1, en;q=0.9", "en"},
		"second choice":              {"", "fr, en;q=0.5", "en"},
		"unsupported languages":      {"", "fr-FR, de", "zh"},
		"not a language":             {"", ";;;=", "zh"},
		"any language":               {"", "*", "zh"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, n.Negotiate(c.header, c.accept))
		})
	}
}

func TestContext(t *testing.T) {
	require.Equal(t, "zh", locale.FromContext(context.Background()))
	require.Equal(t, "en", locale.FromContext(context.WithValue(context.Background(), locale.Key{}, "en")))
}

func FuzzNegotiate(f *testing.F) {
	f.Add("en", "zh-TW;q=0.3")
	f.Add("", "zh_,;q=,*;q=9")
	n := locale.NewNegotiator()
	f.Fuzz(func(t *testing.T, header, accept string) {
		if got := n.Negotiate(header, accept); !slices.Contains([]string{"zh", "en", "zh_Hant_TW"}, got) {
			t.Fatalf("Negotiate(%q, %q) = %q", header, accept, got)
		}
	})
}
