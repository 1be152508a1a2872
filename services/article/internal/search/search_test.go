package search_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/services/article/internal/search"
)

func TestGrams(t *testing.T) {
	for text, want := range map[string][]string{
		"":        {},
		"a":       {"a"},
		"Go":      {"go", "o"},
		"Kube":    {"be", "e", "kub", "ube"},
		"aaaa":    {"a", "aa", "aaa"},
		"重启":      {"启", "重", "重启"},
		"用Go写":    {"go写", "o写", "写", "用", "用g"},
		"カナ":      {"カ", "カナ", "ナ"},
		"한글":      {"글", "한", "한글"},
		"😀!":      {"!", "😀!"},
		"ΣΟΣ":     {"σ", "σοσ", "οσ"},
		"ＧＯ":      {"ｇｏ", "ｏ"},
		"𠀀b":      {"b", "𠀀", "𠀀b"},
		"a b":     {"a b", " b", "b"},
		"100% Go": {"% g", " go", "0% ", "00%", "100", "go", "o"},
	} {
		slices.Sort(want)
		require.Equal(t, want, search.Grams(text), text)
	}
}

func TestQuery(t *testing.T) {
	for text, want := range map[string]struct {
		grams  []string
		prefix string
	}{
		"":      {nil, ""},
		"G":     {nil, "g"},
		"Go":    {nil, "go"},
		"Kube":  {[]string{"kub", "ube"}, ""},
		"重":     {[]string{"重"}, ""},
		"滚动重启":  {[]string{"滚动", "动重", "重启"}, ""},
		"用go":   {[]string{"用g"}, ""},
		"a重":    {[]string{"重"}, ""},
		"C# 入门": {[]string{"c# ", "# 入", " 入门", "入门"}, ""},
		"aaaaa": {[]string{"aaa"}, ""},
		"%%":    {nil, "%%"},
	} {
		q := search.NewQuery(text)
		slices.Sort(want.grams)
		require.Equal(t, want.grams, q.Grams, text)
		require.Equal(t, want.prefix, q.Prefix, text)
	}
}

func TestMatches(t *testing.T) {
	for _, one := range []struct {
		part, text string
		want       bool
	}{
		{"go", "GOLANG", true}, {"GO", "golang", true}, {"滚动", "滚动重启", true}, {"σίσυφοσ", "ΣΊΣΥΦΟΣ", true},
		{"go", "g o", false}, {"go", "ＧＯ", false}, {"e", "é", false}, {"", "a", true}, {"%", "a", false},
	} {
		require.Equal(t, one.want, search.NewQuery(one.part).Matches(one.text), "%q in %q", one.part, one.text)
	}
}

// A text that contains another one has all grams of that one's query, or one with its
// prefix.
func FuzzGrams(f *testing.F) {
	for _, text := range []string{"Rolling restarts in production", "优雅停机与零丢失", "用 Go 写 Kubernetes Operator", "😀 emoji", "ΑΒΓ абв", "İstanbul ßẞ", "カタカナ한글"} {
		f.Add(text, uint8(2), uint8(5))
	}
	f.Fuzz(func(t *testing.T, text string, from, length uint8) {
		runes := []rune(strings.ToValidUTF8(text, ""))
		start := min(int(from), len(runes))
		part := string(runes[start:min(start+int(length), len(runes))])
		text = string(runes)
		grams, q := search.Grams(text), search.NewQuery(part)
		for _, gram := range q.Grams {
			require.Contains(t, grams, gram, "%q in %q", part, text)
		}
		if len(q.Grams) == 0 && part != "" {
			require.True(t, slices.ContainsFunc(grams, func(gram string) bool { return strings.HasPrefix(gram, q.Prefix) }), "%q in %q", part, text)
			require.NotEmpty(t, q.Prefix)
		}
		require.True(t, q.Matches(text), "%q in %q", part, text)
		for _, gram := range grams {
			require.LessOrEqual(t, len(gram), search.MaxGram)
			require.True(t, utf8.ValidString(gram))
			require.Contains(t, search.Fold(text), gram)
		}
	})
}
