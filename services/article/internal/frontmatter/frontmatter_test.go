package frontmatter_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/services/article/internal/frontmatter"
)

func parse(t *testing.T, text string) frontmatter.Post {
	t.Helper()
	post, err := frontmatter.Parse([]byte(text), time.UTC)
	require.NoError(t, err)
	return post
}

func TestParse(t *testing.T) {
	day := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		text string
		want frontmatter.Post
	}{
		"none":               {"# Hello\n\ntext\n", frontmatter.Post{Content: "# Hello\n\ntext\n", Bare: true}},
		"empty file":         {"", frontmatter.Post{Bare: true}},
		"a byte order mark":  {"\ufeff---\ntitle: a\n---\ntext", frontmatter.Post{Title: "a", Content: "text"}},
		"empty lines before": {"\n \n---\ntitle: a\n---\ntext", frontmatter.Post{Title: "a", Content: "text"}},
		"empty":              {"---\n---\ntext", frontmatter.Post{Content: "text"}},
		"only a comment":     {"---\n# nothing\n---\ntext", frontmatter.Post{Content: "text"}},
		"no content":         {"---\ntitle: a\n---", frontmatter.Post{Title: "a"}},
		"one empty line":     {"---\ntitle: a\n---\n\n\ntext", frontmatter.Post{Title: "a", Content: "\ntext"}},
		"CRLF":               {"---\r\ntitle: a\r\ntags: [b]\r\n---\r\n\r\ntext\r\n", frontmatter.Post{Title: "a", Tags: []string{"b"}, Content: "text\r\n"}},
		"CR":                 {"\ufeff---\rtitle: a\rtags: [b]\r---\r\rtext\rmore\r", frontmatter.Post{Title: "a", Tags: []string{"b"}, Content: "text\nmore\n"}},
		"CR and others":      {"---\rtitle: a\r\n---\ntext\r\nmore\r", frontmatter.Post{Title: "a", Content: "text\nmore\n"}},
		"CR without":         {"text\rmore", frontmatter.Post{Content: "text\nmore", Bare: true}},
		"CR in the text":     {"---\ntitle: a\n---\ntext\rmore", frontmatter.Post{Title: "a", Content: "text\rmore"}},
		"a leap second":      {"+++\ntitle = \"= 2016-12-31T23:59:60Z\"\n+++\n", frontmatter.Post{Title: "= 2016-12-31T23:59:60Z"}},
		"leap seconds": {"+++\ndate = 2016-12-31T23:59:60Z\nlastmod= 2016-12-31 23:59:60.5\n+++\n", frontmatter.Post{
			Date: time.Date(2016, 12, 31, 23, 59, 59, 0, time.UTC), Updated: time.Date(2016, 12, 31, 23, 59, 59, 5e8, time.UTC)}},
		"blanks behind ---":     {"--- \ntitle: a\n--- \t\ntext", frontmatter.Post{Title: "a", Content: "text"}},
		"ends with ...":         {"---\ntitle: a\n...\ntext", frontmatter.Post{Title: "a", Content: "text"}},
		"longer lines":          {"-----\ntitle: a\n-----\ntext", frontmatter.Post{Title: "a", Content: "text"}},
		"a line in the content": {"---\ntitle: a\n---\ntext\n---\nmore", frontmatter.Post{Title: "a", Content: "text\n---\nmore"}},
		"old Hexo":              {"title: a\ndate: 2026-01-02\n---\ntext", frontmatter.Post{Title: "a", Date: day, Content: "text"}},
		"a heading":             {"title: a\n\ntext", frontmatter.Post{Content: "title: a\n\ntext", Bare: true}},
		"a template":            {"{% raw %}\n", frontmatter.Post{Content: "{% raw %}\n", Bare: true}},
		"a shortcode":           {"{{< figure >}}\n", frontmatter.Post{Content: "{{< figure >}}\n", Bare: true}},
		"TOML": {"+++\ntitle = \"a: b\"\ndate = 2026-01-02\ndraft = true\ntags = [\"x\", \"y\"]\n[params]\ncover = \"c.png\"\n+++\n\ntext",
			frontmatter.Post{Title: "a: b", Date: day, Draft: true, Tags: []string{"x", "y"}, Cover: "c.png", Content: "text"}},
		"JSON":           {"{\n  \"title\": \"a\",\n  \"tags\": [\"x\"],\n \"weight\": 7\n}\n\ntext", frontmatter.Post{Title: "a", Tags: []string{"x"}, Content: "text"}},
		"empty JSON":     {"{}\ntext", frontmatter.Post{Content: "text"}},
		"a number":       {"---\ntitle: 1.10\n---\n", frontmatter.Post{Title: "1.10"}},
		"a boolean":      {"---\ntitle: yes\n---\n", frontmatter.Post{Title: "yes"}},
		"a date":         {"---\ntitle: 2026-01-02\n---\n", frontmatter.Post{Title: "2026-01-02"}},
		"null":           {"---\ntitle: ~\ntags:\ncategories: null\ndate:\ndraft:\n---\n", frontmatter.Post{}},
		"a block":        {"---\ntitle: >-\n  two\n  lines\n---\n", frontmatter.Post{Title: "two lines"}},
		"an alias":       {"---\ntags: &all [a, b]\ncategories: *all\n---\n", frontmatter.Post{Tags: []string{"a", "b"}}},
		"capitals":       {"---\nTitle: a\nTAGS: [b]\n---\n", frontmatter.Post{Title: "a", Tags: []string{"b"}}},
		"Chinese":        {"---\ntitle: 滚动重启\ntags: 甲，乙、丙\n---\n正文", frontmatter.Post{Title: "滚动重启", Tags: []string{"甲", "乙", "丙"}, Content: "正文"}},
		"tags by blanks": {"---\ntags: a  b\n---\n", frontmatter.Post{Tags: []string{"a", "b"}}},
		"tags by commas": {"---\ntags: a b, c,, a b\n---\n", frontmatter.Post{Tags: []string{"a b", "c"}}},
		"numbers":        {"---\ntags: [2026, true, 1.0]\n---\n", frontmatter.Post{Tags: []string{"2026", "true", "1.0"}}},
		"category":       {"---\ncategory: a b\n---\n", frontmatter.Post{Tags: []string{"a b"}}},
		"nested":         {"---\ncategories:\n- [a, b]\n- [a, c]\n- d\ntags: [a]\n---\n", frontmatter.Post{Tags: []string{"a", "b", "c", "d"}}},
		"hidden tags":    {"---\ntags: [a]\nhidden_tags: [b]\n---\n", frontmatter.Post{Tags: []string{"a", "b"}, HiddenTags: []string{"b"}}},
		"not published":  {"---\npublished: false\n---\n", frontmatter.Post{Draft: true}},
		"published at":   {"---\npublished: 2026-01-02\n---\n", frontmatter.Post{Date: day}},
		"draft as text":  {"---\ndraft: \"true\"\n---\n", frontmatter.Post{Draft: true}},
		"status":         {"---\nstatus: Draft\n---\n", frontmatter.Post{Draft: true}},
		"summary":        {"---\nsummary: a\nexcerpt: b\n---\n", frontmatter.Post{Description: "a"}},
		"times": {"---\ndate: 2026-01-02\nupdated: 2026-01-02\npublishDate: 2026-01-02\n---\n",
			frontmatter.Post{Date: day, Updated: day, Publish: day}},
		"permalink":        {"---\npermalink: /2026/01/hello-world.html\n---\n", frontmatter.Post{PathSlug: "hello-world"}},
		"url":              {"---\nurl: /posts/hello/\nslug: Hi\n---\n", frontmatter.Post{Slug: "Hi", PathSlug: "hello"}},
		"address":          {"---\nurl: https://example.org/a/b/index.html\n---\n", frontmatter.Post{PathSlug: "b"}},
		"pattern":          {"---\npermalink: /:year/:title/\n---\n", frontmatter.Post{}},
		"cover":            {"---\ncover:\n  image: a.png\n  alt: b\n---\n", frontmatter.Post{Cover: "a.png"}},
		"no cover":         {"---\ncover: false\nimages: [b.png, c.png]\n---\n", frontmatter.Post{Cover: "b.png"}},
		"header":           {"---\nheader:\n  teaser: /assets/a.png\n---\n", frontmatter.Post{Cover: "/assets/a.png"}},
		"what is ignored":  {"---\nlayout: post\nweight: 3\nmenu: {main: {weight: 1}}\n---\n", frontmatter.Post{}},
		"year one of Hugo": {"---\ndate: 0001-01-01T00:00:00Z\n---\n", frontmatter.Post{}},
		"blanks are kept":  {"---\ndescription: \"  \"\n---\n", frontmatter.Post{Description: "  "}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, parse(t, test.text)) })
	}
}

func TestParseErrors(t *testing.T) {
	bomb := "---\na: &a [x,x,x,x,x,x,x,x,x]\n"
	for _, one := range "bcdefgh" {
		last := string(one - 1)
		bomb += string(one) + ": &" + string(one) + " [" + strings.Repeat("*"+last+",", 8) + "*" + last + "]\n"
	}
	for name, test := range map[string]struct{ text, want string }{
		"no end":                 {"---\ntitle: a\ntext", "line 1: the front matter that begins here has no end"},
		"no end of TOML":         {"+++\ntitle = 1\n", "line 1: the front matter that begins here has no end"},
		"a colon":                {"---\nx: 1\ntitle: a: b\n---\n", "line 3: the YAML is malformed: mapping values are not allowed in this context; put texts into quotation marks"},
		"a tab":                  {"---\nx:\n\ty: 1\n---\n", "line 3: the YAML is malformed"},
		"twice":                  {"---\ntitle: a\nx: 1\nTitle: b\n---\n", `line 4: the field "title" is there twice, also in line 2: remove one of them`},
		"twice in TOML":          {"+++\ntitle = 'a'\ntitle = 'b'\n+++\n", "line 3: the TOML is malformed"},
		"twice in JSON":          {"{\"title\": \"a\",\n\"title\": \"b\"}\n", `line 2: the field "title" is there twice, also in line 1`},
		"malformed TOML":         {"+++\nx = 1\ntitle = a\n+++\n", "line 3: the TOML is malformed"},
		"malformed JSON":         {"{\"title\": a}\n", "line 1: the JSON is malformed"},
		"behind JSON":            {"{\"title\": \"a\"} text\n", "line 1: a new line must follow the front matter"},
		"only a text":            {"---\nhello\n---\n", "line 2: the front matter has no fields"},
		"a list":                 {"---\n- hello\n---\n", "line 2: the front matter has no fields"},
		"merge":                  {"---\nx: &x {a: 1}\n<<: *x\n---\n", "line 3: merged fields (<<) are not supported"},
		"a bomb":                 {bomb + "---\n", "the front matter has more than 10000 values"},
		"itself":                 {"---\na: &a [*a]\n---\n", "line 2: "},
		"deep":                   {"---\na: " + strings.Repeat("[", 30) + strings.Repeat("]", 30) + "\n---\n", "line 2: the values are nested more than 20 levels deep"},
		"very deep":              {"---\na: " + strings.Repeat("[", 30_000) + "\n---\n", "line 2: the YAML is malformed: exceeded max depth"},
		"deep TOML":              {"+++\na = " + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + "\n+++\n", "line 2: the values are nested more than 20 levels deep"},
		"large":                  {"---\na: " + strings.Repeat("x", frontmatter.MaxSize) + "\n---\n", "line 2: the front matter has 65540 bytes, and may have at most 65536"},
		"large JSON":             {"{\"a\": \"" + strings.Repeat("x", frontmatter.MaxSize) + "\"}\n", "the JSON is malformed, or has more than 65536 bytes"},
		"UTF-16":                 {"\xff\xfe-\x00-\x00", "line 1: the file is UTF-16: save it as UTF-8"},
		"Latin-1":                {"---\ntitle: a\n---\ncaf\xe9\n", "line 4: the byte 0xE9 is not UTF-8: save the file as UTF-8"},
		"a title that is a list": {"---\ntitle: [a]\n---\n", "line 2: title must be a text"},
		"a title in TOML":        {"+++\n\n# c\ntitle = ['a']\n+++\n", "line 4: title must be a text"},
		"draft":                  {"---\ndraft: maybe\n---\n", "line 2: draft must be true or false"},
		"published":              {"---\npublished: maybe\n---\n", "line 2: published must be true or false, or a time"},
		"no time":                {"---\ntitle: a\ndate: tomorrow\n---\n", `line 3: date: "tomorrow" is no time: write it as 2026-01-02 15:04:05 +0800`},
		"a list of times":        {"---\ndate: [2026-01-02]\n---\n", "line 2: date must be a time"},
		"a table of tags":        {"---\ntags: {a: b}\n---\n", "line 2: tags must be a list"},
		"tables as tags":         {"---\ntags:\n- a: b\n---\n", "line 2: tags must be a list of texts"},
		"the first of both":      {"---\ndraft: maybe\ntitle: [a]\n---\n", "line 2: draft"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := frontmatter.Parse([]byte(test.text), time.UTC)
			require.ErrorContains(t, err, test.want)
			var coded *frontmatter.Error
			require.ErrorAs(t, err, &coded)
			require.Less(t, len(err.Error()), 400)
		})
	}
}

func TestParseTime(t *testing.T) {
	shanghai := time.FixedZone("", 8*3600)
	for text, want := range map[string]string{
		"2026-01-02T15:04:05Z":            "2026-01-02T15:04:05Z",
		"2026-01-02T15:04:05.678+08:00":   "2026-01-02T07:04:05.678Z",
		"2026-01-02t15:04:05z":            "2026-01-02T15:04:05Z",
		"2026-01-02":                      "2026-01-01T16:00:00Z",
		"2026-1-2":                        "2026-01-01T16:00:00Z",
		"2026/1/2":                        "2026-01-01T16:00:00Z",
		"2026.01.02":                      "2026-01-01T16:00:00Z",
		"2026/01/02 15:04":                "2026-01-02T07:04:00Z",
		"2026-01-02 15:04:05":             "2026-01-02T07:04:05Z",
		"2026-01-02 5:4:5":                "2026-01-01T21:04:05Z",
		"2026-01-02 15:04:05 +0800":       "2026-01-02T07:04:05Z",
		"2026-01-02 15:04:05 -0330":       "2026-01-02T18:34:05Z",
		"2026-01-02 15:04:05 +00:00":      "2026-01-02T15:04:05Z",
		"2026-01-02 15:04:05 UTC":         "2026-01-02T15:04:05Z",
		"2026-01-02 15:04:05+08":          "2026-01-02T07:04:05Z",
		"2026-01-02  3:04 PM":             "2026-01-02T07:04:00Z",
		"2026-01-02 12:04 am +0000":       "2026-01-02T00:04:00Z",
		"2026-01-02 15:04:60Z":            "2026-01-02T15:04:59Z",
		" 2026-01-02 00:00:00 Z ":         "2026-01-02T00:00:00Z",
		"Fri, 02 Jan 2026 15:04:05 +0800": "2026-01-02T07:04:05Z",
		"Fri, 02 Jan 2026 15:04:05 GMT":   "2026-01-02T15:04:05Z",
		"Fri Jan  2 15:04:05 2026":        "2026-01-02T07:04:05Z",
		"Jan 2, 2026":                     "2026-01-01T16:00:00Z",
		"January 2, 2026":                 "2026-01-01T16:00:00Z",
		"2 Jan 2026":                      "2026-01-01T16:00:00Z",
		"2026年1月2日":                       "2026-01-01T16:00:00Z",
		"2026年1月2日 15:04":                 "2026-01-02T07:04:00Z",
		"0001-01-01T00:00:00Z":            "0001-01-01T00:00:00Z",
	} {
		got, problem := frontmatter.ParseTime(text, shanghai)
		require.Empty(t, problem, text)
		require.Equal(t, want, got.Format(time.RFC3339Nano), text)
	}
	for text, want := range map[string]string{
		"":                                "is no time",
		"1767366245":                      "is no time",
		"2026-13-01":                      "is no time",
		"2026-02-30":                      "the month has fewer days",
		"2026-01-00":                      "is no time",
		"2026-01-02 24:00":                "is no time",
		"2026-01-02 13:00 pm":             "is no time",
		"2026-01-02 15:04:05 CST":         "ambiguous zone",
		"Fri, 02 Jan 2026 15:04:05 CST":   "ambiguous zone",
		"2026-01-02 15:04:05 +9900":       "impossible zone",
		"0999-01-02":                      "the year must be 1000 to 9999",
		"9999-12-31 23:00 -0800":          "the year must be 1000 to 9999",
		"{{ .Date }}":                     "is no time",
		"02/01/2026":                      "is no time",
		"2026-01-02 15:04:05 +0800 extra": "is no time",
	} {
		_, problem := frontmatter.ParseTime(text, shanghai)
		require.Contains(t, problem, want, text)
	}
}

// hostile are texts that other values of YAML, or front matter, look like.
var hostile = []string{
	"---", "---\n", "---\ntitle: x\n---\n", "+++\n", "\n", "\n\n", "\r\n", "\r\ntext", "text\r\n", " text ", "text", "\ttext\t", "\ufefftext", "...",
	"~", "null", "yes", "true", "1", "1.10", "0x1f", "2026-01-02", "2026-01-02T15:04:05Z", "12:30:45", "- a", "a: b", "# a", "a # b", "[a]", "{a: b}", "*a", "&a", "!a", "!!str a", "| a",
	"> a", "'a'", `"a"`, `\`, `\n`, "%a", "@a", "`a`", "滚动重启", "😀👩‍💻", "e\u0301", "\u2028\u2029", "\u0085", "\u00a0", "\x00", "\x7f", "\u200b", "\ufffd", "\U0010ffff", "<b>&amp;", "a\nb", "a,b", "，",
}

func TestMarkdown(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	for _, text := range hostile {
		post := frontmatter.Post{Title: text, Description: text, Content: text, Date: at, Updated: at}
		written := post.Markdown()
		require.Equal(t, post, parse(t, written), "%q", written)
		if tag := strings.TrimSpace(text); tag != "" {
			post.Tags, post.HiddenTags = []string{"a", tag}, []string{tag}
			require.Equal(t, post, parse(t, post.Markdown()), "%q", written)
		}
	}
	require.Equal(t, `---
title: "No: \"1\""
slug: "no-1"
date: 2026-01-02T03:04:05.678Z
lastmod: 2026-01-02T03:04:05.678Z
draft: true
description: "a\nb"
cover: "https://example.org/a.png"
tags:
  - "a"
  - "1"
---

text`, frontmatter.Post{
		Title: `No: "1"`, Slug: "no-1", Date: at, Updated: at, Draft: true, Description: "a\nb",
		Cover: "https://example.org/a.png", Tags: []string{"a", "1"}, Content: "text",
	}.Markdown())
}

// A line with many references takes linear time. In quadratic time, it would take minutes.
func TestManyReferences(t *testing.T) {
	const size = 1 << 18
	began := time.Now()
	for _, one := range []string{"![](a)", "[](a)", "](a \"](b)", "<img ](b)", "<img src='a'>", "<img src=\"a ", " href='a", "{% asset_img a.b", "[a]: b", "![", "{{< figure src="} {
		n := 0
		text := strings.Repeat(one, size/len(one))
		require.Equal(t, text, frontmatter.ReplaceReferences(text, func(one frontmatter.Reference) string { n++; return one.Path }))
		require.LessOrEqual(t, n, size/len(one))
		require.Less(t, time.Since(began), time.Minute)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range hostile {
		f.Add("---\ntitle: " + text + "\n---\n" + text)
		f.Add("+++\ntitle = " + text + "\n+++\n" + text)
		f.Add("{\"title\": \"" + text + "\"}\n" + text)
		f.Add(text)
	}
	f.Add("---\na: &a [*a]\ndate: 2026-01-02 15:04 PM +08\n---\n")
	f.Fuzz(func(t *testing.T, text string) {
		post, err := frontmatter.Parse([]byte(text), time.UTC)
		if err != nil || post.Bare {
			return
		}
		post.PathSlug = ""
		again, err := frontmatter.Parse([]byte(post.Markdown()), time.UTC)
		require.NoError(t, err, "%q", post.Markdown())
		for _, at := range []*time.Time{&post.Date, &post.Created, &post.Updated, &post.Publish} {
			*at = at.Truncate(time.Millisecond)
		}
		require.Equal(t, post, again)
	})
}
