package webfeed_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/mmcdole/gofeed"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/webfeed"
)

var formats = map[string]webfeed.Format{"rss": webfeed.RSS, "atom": webfeed.Atom, "json": webfeed.JSON}

// each reads a feed back in each format.
func each(t *testing.T, feed webfeed.Feed, test func(t *testing.T, format string, read *gofeed.Feed)) {
	t.Helper()
	for name, format := range formats {
		t.Run(name, func(t *testing.T) {
			text, err := format.Encode(feed)
			require.NoError(t, err)
			requireWellFormed(t, name, text)
			read, err := gofeed.NewParser().Parse(bytes.NewReader(text))
			require.NoError(t, err, "%s", text)
			require.Equal(t, name, read.FeedType)
			test(t, name, read)
		})
	}
}

func requireWellFormed(t *testing.T, format string, text []byte) {
	t.Helper()
	if format == "json" {
		require.True(t, json.Valid(text), "%s", text)
		return
	}
	decoder := xml.NewDecoder(bytes.NewReader(text))
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			require.NoError(t, err, "%s", text)
		}
	}
}

func example() webfeed.Feed {
	created := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	return webfeed.Feed{
		Site: webfeed.Site{
			Title: "Ops & <more>", Description: "What we do", Language: "zh-CN", URL: "https://blog.example/", ArticleURL: "https://blog.example/posts/{slug}?id={id}",
		},
		Self: "https://api.example/api/v1/articles/feed", API: "https://api.example/api/v1/articles", Download: "https://api.example/api/v1/file/download/",
		Articles: []article.Article{
			{ID: 7, Title: "滚动 <&]]> \"restarts\" 🚀", Slug: "gun-dong", Desc: "a <b> & c", CoverImageURL: "https://blog.example/a.png?b=1&c=2", PublishedAt: created.Add(30 * time.Minute), CreatedAt: created, UpdatedAt: created.Add(time.Hour),
				Tags: []article.Tag{{ID: 1, Name: "Go & <more>"}, {ID: 2, Name: "运维"}}},
			{ID: 6, Title: "plain", CoverFileID: 12, PublishedAt: created, CreatedAt: created.Add(-2 * time.Hour), UpdatedAt: created.Add(-time.Hour)},
		},
	}
}

func TestFeeds(t *testing.T) {
	feed := example()
	each(t, feed, func(t *testing.T, format string, read *gofeed.Feed) {
		require.Equal(t, feed.Title, read.Title)
		require.Equal(t, feed.Description, read.Description)
		require.Equal(t, "https://blog.example/", read.Link)
		require.Equal(t, feed.Self, read.FeedLink)
		require.Equal(t, "zh-CN", read.Language)
		require.Len(t, read.Items, 2)
		one := read.Items[0]
		require.Equal(t, feed.Articles[0].Title, one.Title)
		require.Equal(t, "https://blog.example/posts/gun-dong?id=7", one.Link)
		require.Equal(t, "tag:blog.example,2026-01-02:article/7", one.GUID)
		require.Equal(t, []string{"Go & <more>", "运维"}, one.Categories)
		want := feed.Articles[0].PublishedAt
		if format == "rss" {
			want = want.Truncate(time.Second)
			require.Equal(t, "a &lt;b&gt; &amp; c", one.Description, "it is HTML")
		} else {
			require.Equal(t, "a <b> & c", one.Description)
			require.True(t, feed.Articles[0].UpdatedAt.Equal(*one.UpdatedParsed))
			require.True(t, feed.Articles[1].PublishedAt.Equal(*read.Items[1].UpdatedParsed), "its change was before")
		}
		require.True(t, want.Equal(*one.PublishedParsed), one.Published)
		require.Equal(t, "https://blog.example/posts/6?id=6", read.Items[1].Link, "without a slug")
		if format == "json" {
			require.Equal(t, feed.Articles[0].CoverImageURL, one.Image.URL)
			require.Equal(t, "https://api.example/api/v1/file/download/12", read.Items[1].Image.URL)
		}
	})
	feed.Tag = "运维 & <more>"
	each(t, feed, func(t *testing.T, _ string, read *gofeed.Feed) {
		require.Equal(t, "Ops & <more> - 运维 & <more>", read.Title)
		require.Len(t, read.Items, 2)
	})
}

// Without settings, links lead to the API.
func TestFeedWithoutSettings(t *testing.T) {
	feed := example()
	feed.Site = webfeed.Site{Title: "Achilles"}
	each(t, feed, func(t *testing.T, _ string, read *gofeed.Feed) {
		require.Equal(t, feed.API, read.Link)
		require.Equal(t, feed.API+"/7", read.Items[0].Link)
		require.Equal(t, "tag:localhost,2026-01-02:article/7", read.Items[0].GUID)
	})
}

func TestEmptyFeed(t *testing.T) {
	feed := example()
	feed.Articles = nil
	each(t, feed, func(t *testing.T, _ string, read *gofeed.Feed) {
		require.Empty(t, read.Items)
		require.Equal(t, feed.Title, read.Title)
	})
	text, err := webfeed.JSON.Encode(feed)
	require.NoError(t, err)
	require.Contains(t, string(text), `"items":[]`)
}

// Text of any kind makes no feed that can't be read, or that has other elements.
func TestHostileText(t *testing.T) {
	for _, text := range []string{
		"\x00\x01\x08\x0b\x1f\x7f", "\ufffe\uffff", "\xff\xfe", "]]>", "<![CDATA[", "<!--", "-->", "<?xml?>", "&amp;", "&#0;", "</title></item>", "<script>alert(1)</script>",
		"\r\n\t", "\u2028\u2029", "\u202e", "\"'`", "{id}{slug}", "%00", "\U0010ffff", strings.Repeat("&", 255),
	} {
		feed := example()
		feed.Articles = feed.Articles[:1]
		one := &feed.Articles[0]
		one.Title, one.Desc, one.Tags[0].Name, feed.Tag = text, text, text, text
		each(t, feed, func(t *testing.T, format string, read *gofeed.Feed) {
			require.Len(t, read.Items, 1)
			require.Equal(t, "tag:blog.example,2026-01-02:article/7", read.Items[0].GUID)
			require.Len(t, read.Items[0].Categories, 2)
			require.True(t, format == "json" || !strings.Contains(read.Items[0].Description, "\x00"))
			if format == "rss" {
				require.NotContains(t, read.Items[0].Description, "<script>")
			}
		})
	}
}

// The documents validate: Atom has what RFC 4287 requires.
func TestElements(t *testing.T) {
	text, err := webfeed.Atom.Encode(example())
	require.NoError(t, err)
	for _, part := range []string{
		`<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="zh-CN">`, `<id>tag:blog.example,2026:articles</id>`, `<updated>2026-01-02T04:04:05.678Z</updated>`,
		`<author><name>`, `rel="self"`, `<category term="运维"></category>`, `<published>2026-01-02T03:34:05.678Z</published>`,
	} {
		require.Contains(t, string(text), part)
	}
	require.Equal(t, 1, strings.Count(string(text), "<author>"))
	text, err = webfeed.RSS.Encode(example())
	require.NoError(t, err)
	for _, part := range []string{
		`<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom"><channel>`, `<atom:link href="https://api.example/api/v1/articles/feed" rel="self"`,
		`<guid isPermaLink="false">tag:`, `<pubDate>Fri, 02 Jan 2026 03:04:05 +0000</pubDate>`, `<lastBuildDate>Fri, 02 Jan 2026 04:04:05 +0000</lastBuildDate>`,
	} {
		require.Contains(t, string(text), part)
	}
	text, err = webfeed.JSON.Encode(example())
	require.NoError(t, err)
	for _, part := range []string{`"version":"https://jsonfeed.org/version/1.1"`, `"feed_url":`, `"content_text":""`, `"date_published":"2026-01-02T03:04:05.678Z"`, `"authors":[{"name":`} {
		require.Contains(t, string(text), part)
	}
}
