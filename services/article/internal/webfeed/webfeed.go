// Package webfeed writes feeds of the newest articles for feed readers: RSS 2.0, Atom
// (RFC 4287) and JSON Feed 1.1.
package webfeed

import (
	"bytes"
	"cmp"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/feeds"

	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// Site is what feeds say about the site that shows the articles.
type Site struct {
	Title       string
	Description string
	Language    string
	// URL is the address of the home page; if empty, that of the list in the API.
	URL string
	// ArticleURL is the address of an article, with {slug} or {id}; if empty, that in the
	// API.
	ArticleURL string
}

// Feed is a feed of articles, those that were published last first.
type Feed struct {
	Site
	// Tag is the name of the tag that all articles have, or "".
	Tag string
	// Self is the address of the feed, and API that of the list of articles in the API.
	Self, API string
	// Download is the beginning of the addresses of files, before their ids.
	Download string
	Articles []article.Article
}

// Format is a format of feeds.
type Format struct {
	MediaType string
	Encode    func(Feed) ([]byte, error)
}

const (
	rssType  = "application/rss+xml"
	atomType = "application/atom+xml"
)

// Formats.
var (
	RSS  = Format{rssType, rss}
	Atom = Format{atomType, atom}
	JSON = Format{"application/feed+json", jsonFeed}
)

// title returns the title of the feed.
func (f Feed) title() string {
	if f.Tag == "" {
		return f.Title
	}
	return f.Title + " - " + f.Tag
}

// home returns the address of the site's home page.
func (f Feed) home() string { return cmp.Or(f.URL, f.API) }

// cover returns the address of the cover of an article, "" if it has none.
func (f Feed) cover(a article.Article) string {
	if a.CoverImageURL == "" && a.CoverFileID > 0 {
		return f.Download + strconv.FormatUint(a.CoverFileID, 10)
	}
	return a.CoverImageURL
}

// link returns the address of an article.
func (f Feed) link(a article.Article) string {
	id := strconv.FormatUint(a.ID, 10)
	if f.ArticleURL == "" {
		return f.API + "/" + id
	}
	return strings.NewReplacer("{slug}", cmp.Or(a.Slug, id), "{id}", id).Replace(f.ArticleURL)
}

// authority returns the host in the ids of entries.
func (f Feed) authority() string {
	if site, err := url.Parse(f.URL); err == nil && site.Hostname() != "" {
		return site.Hostname()
	}
	return "localhost"
}

// id returns the id of an article, which is the same in all formats and stays the same, as
// a tag URI (RFC 4151).
func (f Feed) id(a article.Article) string {
	return fmt.Sprintf("tag:%s,%s:article/%d", f.authority(), a.CreatedAt.Format(time.DateOnly), a.ID)
}

// changed returns the time of the last change of an article that readers have seen: a change before
// it was published is none.
func changed(a article.Article) time.Time {
	if a.PublishedAt.After(a.UpdatedAt) {
		return a.PublishedAt
	}
	return a.UpdatedAt
}

// updated returns the time of the last change of an article, or the zero of Unix time
// if there is none.
func (f Feed) updated() time.Time {
	last := time.Unix(0, 0).UTC()
	for _, a := range f.Articles {
		if changed(a).After(last) {
			last = changed(a)
		}
	}
	return last
}

type (
	rssDocument struct {
		XMLName xml.Name `xml:"rss"`
		Version string   `xml:"version,attr"`
		Atom    string   `xml:"xmlns:atom,attr"`
		Channel rssChannel
	}
	rssChannel struct {
		*feeds.RssFeed
		Self  rssSelf
		Items []rssItem `xml:"item"`
	}
	rssSelf struct {
		XMLName xml.Name `xml:"atom:link"`
		Href    string   `xml:"href,attr"`
		Rel     string   `xml:"rel,attr"`
		Type    string   `xml:"type,attr"`
	}
	rssItem struct {
		*feeds.RssItem
		Categories []string `xml:"category"`
	}
)

func rss(f Feed) ([]byte, error) {
	channel := rssChannel{
		RssFeed: &feeds.RssFeed{
			Title: f.title(), Link: f.home(), Description: cmp.Or(f.Description, f.title()), Language: f.Language,
		},
		Self: rssSelf{Href: f.Self, Rel: "self", Type: rssType},
	}
	if len(f.Articles) > 0 {
		channel.LastBuildDate = f.updated().Format(time.RFC1123Z)
	}
	for _, a := range f.Articles {
		channel.Items = append(channel.Items, rssItem{
			RssItem: &feeds.RssItem{
				Title: a.Title, Link: f.link(a), Description: html.EscapeString(a.Desc), // readers take it for HTML
				Guid: &feeds.RssGuid{Id: f.id(a), IsPermaLink: "false"}, PubDate: a.PublishedAt.Format(time.RFC1123Z),
			},
			Categories: names(a.Tags),
		})
	}
	return encodeXML(rssDocument{Version: "2.0", Atom: atomNamespace, Channel: channel})
}

const atomNamespace = "http://www.w3.org/2005/Atom"

type (
	atomFeed struct {
		*feeds.AtomFeed
		Lang    string           `xml:"xml:lang,attr,omitempty"`
		Links   []feeds.AtomLink `xml:"link"`
		Entries []atomEntry      `xml:"entry"`
	}
	atomEntry struct {
		*feeds.AtomEntry
		Categories []atomCategory `xml:"category"`
	}
	atomCategory struct {
		Term string `xml:"term,attr"`
	}
)

func atom(f Feed) ([]byte, error) {
	id := fmt.Sprintf("tag:%s,2026:articles", f.authority())
	if f.Tag != "" {
		id += "/" + url.PathEscape(f.Tag)
	}
	feed := atomFeed{
		AtomFeed: &feeds.AtomFeed{
			Xmlns: atomNamespace, Title: f.title(), Id: id, Updated: f.updated().Format(time.RFC3339Nano), Subtitle: f.Description,
			Author: &feeds.AtomAuthor{AtomPerson: feeds.AtomPerson{Name: f.Title}},
		},
		Lang:  f.Language,
		Links: []feeds.AtomLink{{Href: f.Self, Rel: "self", Type: atomType}, {Href: f.home(), Rel: "alternate"}},
	}
	for _, a := range f.Articles {
		entry := atomEntry{AtomEntry: &feeds.AtomEntry{
			Title: a.Title, Id: f.id(a), Published: a.PublishedAt.Format(time.RFC3339Nano), Updated: changed(a).Format(time.RFC3339Nano),
			Links: []feeds.AtomLink{{Href: f.link(a), Rel: "alternate"}},
		}}
		if a.Desc != "" {
			entry.Summary = &feeds.AtomSummary{Content: a.Desc, Type: "text"}
		}
		for _, name := range names(a.Tags) {
			entry.Categories = append(entry.Categories, atomCategory{name})
		}
		feed.Entries = append(feed.Entries, entry)
	}
	return encodeXML(feed)
}

type (
	jsonDocument struct {
		*feeds.JSONFeed
		Items []jsonItem `json:"items"`
	}
	jsonItem struct {
		*feeds.JSONItem
		// ContentText is the description: an item must have a content.
		ContentText string `json:"content_text"`
	}
)

func jsonFeed(f Feed) ([]byte, error) {
	feed := jsonDocument{
		JSONFeed: &feeds.JSONFeed{
			Version: "https://jsonfeed.org/version/1.1", Title: f.title(), Description: f.Description, Language: f.Language,
			HomePageUrl: f.home(), FeedUrl: f.Self, Authors: []*feeds.JSONAuthor{{Name: f.Title}},
		},
		Items: make([]jsonItem, 0, len(f.Articles)),
	}
	for _, a := range f.Articles {
		feed.Items = append(feed.Items, jsonItem{
			JSONItem: &feeds.JSONItem{
				Id: f.id(a), Url: f.link(a), Title: a.Title, Summary: a.Desc, Image: f.cover(a),
				PublishedDate: &a.PublishedAt, ModifiedDate: new(changed(a)), Tags: names(a.Tags),
			},
			ContentText: a.Desc,
		})
	}
	return json.Marshal(feed)
}

func names(tags []article.Tag) []string {
	var names []string
	for _, t := range tags {
		names = append(names, t.Name)
	}
	return names
}

// encodeXML returns a document. Characters that XML doesn't have, such as U+0000 and
// U+FFFE, are replaced by U+FFFD.
func encodeXML(document any) ([]byte, error) {
	var text bytes.Buffer
	text.WriteString(xml.Header)
	if err := xml.NewEncoder(&text).Encode(document); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}
