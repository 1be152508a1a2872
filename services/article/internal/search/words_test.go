package search_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/services/article/internal/search"
)

func textsOf(words []search.Word) []string {
	texts := make([]string, 0, len(words))
	for _, word := range words {
		texts = append(texts, word.Text)
	}
	return texts
}

func TestWords(t *testing.T) {
	for text, want := range map[string]string{
		"":                      "",
		" \n.,-*\"()~":          "",
		"Go":                    "go",
		"Go go GO ＧＯ":           "go",
		"Straße STRASSE":        "strasse",
		"ΣΊΣΥΦΟΣ σίσυφος":       "σίσυφοσ",
		"ﬁne":                   "fine",
		"E\u0301t\u00e9":        "été",
		"don't l’eau":           "don eau l t",
		"node.js":               "js node",
		"snake_case-word":       "case snake word",
		"C++":                   "c c++",
		"C++17":                 "17 c c++",
		"C# F#. C#":             "c c# f f#",
		"#go issue#13 go##":     "13 go issue",
		"a+b +c d+":             "a b c d",
		"Ｃ＋＋ Ｃ＃":                "c c# c++",
		"+++":                   "",
		"3.14 1,000":            "000 1 14 3",
		"重启":                    "启 重 重启",
		"重，启":                   "启 重",
		"用Go写代码":                "go 代 代码 写 写代 用 码",
		"ｶﾀｶﾅ カタカナ":             "カ カタ カナ タ タカ ナ",
		"ﾊﾞ":                    "バ",
		"한글 \u1112\u1161\u11ab": "글 한 한글",
		"时々〇":                   "々 々〇 〇 时 时々",
		"ไทย":                   "ท ทย ย ไ ไท",
		"👍🏽 😀go":                "go 🏽 👍 😀",
		"soft\u00adhyphen":      "softhyphen",
		"می\u200cخواهم":         "میخواهم",
		"हिन्दी":                "हिन्दी",
		"AND OR NOT NEAR":       "and near not or",
		"\x00a\x00\ufffdb\xffc": "a b c",
		"a重#":                   "a 重",
	} {
		require.Equal(t, strings.Fields(want), textsOf(search.Words(text, "", "")), "%q", text)
	}
}

func TestWeights(t *testing.T) {
	require.Equal(t, []search.Word{
		{"a", search.InTitle + search.InDesc + search.InContent}, {"b", search.InTitle}, {"c", search.InDesc + search.InContent}, {"d", search.InContent},
	}, search.Words("A b", "a c", "D c c a"))
	require.Greater(t, search.InTitle, search.InDesc+search.InContent)
	require.Equal(t, []string{"重", "重启"}, textsOf(search.Words("重", "", "重启"))[1:], "parts don't touch")
}

func TestQueryWords(t *testing.T) {
	for text, want := range map[string]string{
		"":                  "",
		"+-*\"() ~@<>%_\\":  "",
		"Go":                "go",
		"go AND -rust":      "and go rust",
		`"exact phrase" a*`: "a exact phrase",
		"C++":               "c++",
		"C++17 C#":          "17 c# c++",
		"c":                 "c",
		"重":                 "重",
		"重启":                "重启",
		"滚动重启":              "动重 滚动 重启",
		"重 启动":              "启动 重",
		"用Go写代码":            "go 代码 写代 用",
		"ＧＯ ｶﾀ":             "go カタ",
		"重\u200d启":          "重启",
		"重启 重启":             "重启",
		"😀":                 "😀",
	} {
		require.Equal(t, strings.Fields(want), append([]string{}, search.QueryWords(text)...), "%q", text)
	}
}

// A long word is found by itself only.
func TestLongWords(t *testing.T) {
	for _, letter := range []string{"a", "é", "д", "ꦄ", "𝼀", "𐐨"} {
		fits := strings.Repeat(letter, search.MaxWord/len(letter))
		require.Equal(t, []string{fits}, textsOf(search.Words(fits, "", "")))
		var all []string
		for more := range 100 {
			long := fits + strings.Repeat(letter, more+1)
			words := search.QueryWords(long)
			require.Len(t, words, 1)
			require.LessOrEqual(t, len(words[0]), search.MaxWord)
			require.Greater(t, len(words[0]), search.MaxWord-4)
			require.True(t, utf8.ValidString(words[0]))
			require.Equal(t, words, textsOf(search.Words("", "", long)))
			all = append(all, words[0])
		}
		slices.Sort(all)
		require.Len(t, slices.Compact(all), 100, letter)
	}
	require.NotEqual(t, search.QueryWords(strings.Repeat("a", 1<<20)), search.QueryWords(strings.Repeat("a", 1<<20-1)+"b"))
}

// The first words of an article are indexed.
func TestMaxWords(t *testing.T) {
	var text strings.Builder
	for i := range search.MaxWords + 1000 {
		fmt.Fprintf(&text, "w%06d ", i)
	}
	words := search.Words("title", "desc", text.String()+"title desc")
	require.Len(t, words, search.MaxWords)
	require.Equal(t, fmt.Sprintf("w%06d", search.MaxWords-3), words[len(words)-1].Text)
	require.Contains(t, words, search.Word{Text: "title", Weight: search.InTitle})
	require.Len(t, search.QueryWords(text.String()), search.MaxQueryWords+1)
	require.Len(t, search.QueryWords(strings.Repeat("\ufdfa", 100)), 5, "a letter that stands for four words")
}

// Where a text is divided has no effect.
func TestLongTexts(t *testing.T) {
	for _, part := range []string{"abc ", "a", "ab重启", "重启动", "é", "e\u0301", "ﾊﾞ", "\u0301", "ﷺ", "한", "\u1112\u1161", "a\u00ad", "C++#"} {
		for shift := range 5 {
			text := strings.Repeat("x", shift) + strings.Repeat(part, 20_000/len(part))
			require.Equal(t, naive(text), textsOf(search.Words("", "", text)), "%q", part)
		}
	}
}

// naive returns the words of a text by other means: the folded text as a whole.
func naive(text string) []string {
	words := map[string]bool{}
	var run []rune
	runes := append([]rune(search.FoldWords(text)), ' ')
	for i, r := range runes {
		isLetter := unicode.In(r, unicode.L, unicode.M, unicode.N)
		if isLetter && !dense(r) {
			run = append(run, r)
			continue
		}
		if len(run) > 0 {
			words[search.Cut(string(run))] = true
			suffix := ""
			if r == '+' && runes[i+1] == '+' {
				suffix = "++"
			}
			if r == '#' && runes[i+1] != '#' && !unicode.In(runes[i+1], unicode.L, unicode.M, unicode.N) {
				suffix = "#"
			}
			if suffix != "" && len(string(run))+len(suffix) <= search.MaxWord {
				words[string(run)+suffix] = true
			}
			run = nil
		}
		if isLetter {
			words[string(r)] = true
			if i > 0 && dense(runes[i-1]) {
				words[string(runes[i-1:i+1])] = true
			}
		}
		if r >= 0x2600 && r <= 0x27bf || r >= 0x1f000 && r <= 0x1faff {
			words[string(r)] = true
		}
	}
	list := make([]string, 0, len(words))
	for word := range words {
		list = append(list, word)
	}
	slices.Sort(list)
	return list
}

// dense reports whether a letter is of a script without spaces.
func dense(r rune) bool {
	return unicode.In(r, unicode.L, unicode.M, unicode.N) && search.IsDense(r)
}

func FuzzWords(f *testing.F) {
	for _, text := range []string{"Rolling restarts, in C++ and C#", "优雅停机与零丢失", "用 Go 写 Kubernetes Operator", "😀 emoji 👍🏽", "ΑΒΓ абв", "İstanbul ßẞ ﬁ", "ｶﾀｶﾅ한글",
		strings.Repeat("a", 40), "\u0345\u0390", "\u037a", "ﷺ", "\u1e9b\u0323", "é\u0301\u034f\u0301", "ไทย", "a##+b++#"} {
		f.Add(text, uint8(1), uint8(5))
	}
	f.Fuzz(func(t *testing.T, text string, from, length uint8) {
		folded := search.FoldWords(text)
		require.Equal(t, folded, search.FoldWords(folded), "folding is idempotent")
		words := textsOf(search.Words("", "", text))
		require.Equal(t, naive(text), words)
		require.True(t, slices.IsSorted(words))
		for _, word := range words {
			require.LessOrEqual(t, len(word), search.MaxWord)
			require.NotEmpty(t, word)
			require.True(t, utf8.ValidString(word))
		}
		all := search.QueryWords(text)
		require.LessOrEqual(t, len(all), search.MaxQueryWords+1)
		for _, word := range all { // a text finds itself
			require.Contains(t, words, word)
		}
		require.Equal(t, len(words) == 0, len(all) == 0)

		// A query finds a text if all of its words are words of the text.
		runes := []rune(text)
		start := min(int(from), len(runes))
		query := string(runes[start:min(start+int(length), len(runes))])
		for _, word := range search.QueryWords(query) {
			require.Contains(t, naive(query), word)
		}
	})
}

func BenchmarkWords(b *testing.B) {
	const part = "A pod that is deleted keeps its endpoint for a while.\nUntil every proxy knows, requests arrive.\n优雅停机分为两步：先让就绪检查失败，再等待正在处理的请求结束。\n"
	content := strings.Repeat(part, 8)
	b.ReportAllocs()
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		search.Words("Rolling restarts 优雅停机", "", content)
	}
}
