package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Article is an article.
type Article struct {
	ID            uint64 `json:"id"`
	Title         string `json:"title"`
	Slug          string `json:"slug"`
	Desc          string `json:"desc"`
	CoverImageURL string `json:"cover_image_url"`
	// CoverFileID is the uploaded file that is the cover, nil for none.
	CoverFileID *uint64 `json:"cover_file_id"`
	// Content is "" in lists, unless ArticleFilter.Content is set.
	Content string `json:"content"`
	// ContentOmitted reports that a page had no room for the content: read the article.
	ContentOmitted bool         `json:"content_omitted"`
	State          State        `json:"state"`
	Tags           []ArticleTag `json:"tags"`
	// PublishAt is the time from which on everybody sees the article, unless it is disabled.
	PublishAt time.Time `json:"publish_at"`
	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by"`
	UpdatedAt time.Time `json:"updated_at"`
	UpdatedBy string    `json:"updated_by"`
	// ETag is that of an article which was read or written by itself; "" for one of a list.
	// See IfMatch and IfNoneMatch.
	ETag string `json:"-"`
}

// ArticleTag is a tag of an article.
type ArticleTag struct {
	ID    uint64 `json:"id"`
	Name  string `json:"name"`
	State State  `json:"state"`
}

// NewArticle is an article to create. It is enabled if State is nil. Without a Slug the
// service makes one.
type NewArticle struct {
	Title         string `json:"title"`
	Slug          string `json:"slug,omitempty"`
	Desc          string `json:"desc,omitempty"`
	CoverImageURL string `json:"cover_image_url,omitempty"`
	CoverFileID   uint64 `json:"cover_file_id,omitempty"` // 0 for none
	Content       string `json:"content,omitempty"`
	State         *State `json:"state,omitempty"`
	// PublishAt is the time at which the article is published; nil for now.
	PublishAt *time.Time `json:"publish_at,omitempty"`
	TagIDs    []uint64   `json:"tag_ids,omitempty"`
}

// ArticleUpdate is a change of an article; what is nil stays as it is.
type ArticleUpdate struct {
	Title         *string `json:"title,omitempty"`
	Slug          *string `json:"slug,omitempty"`
	Desc          *string `json:"desc,omitempty"`
	CoverImageURL *string `json:"cover_image_url,omitempty"`
	CoverFileID   *uint64 `json:"cover_file_id,omitempty"` // 0 removes it
	Content       *string `json:"content,omitempty"`
	State         *State  `json:"state,omitempty"`
	// PublishAt is the time at which the article is published.
	PublishAt *time.Time `json:"publish_at,omitempty"`
	// TagIDs are all tags of the article afterwards.
	TagIDs *[]uint64 `json:"tag_ids,omitempty"`
}

// ArticleFilter selects the articles of a list, and their order.
type ArticleFilter struct {
	TagIDs    []uint64 // with any of these tags
	AllTagIDs []uint64 // with all of these tags
	TagName   string
	Title     string // contained in the title, regardless of case
	Words     string // all of them in title, description or content
	State     *State
	// Created, updated and published at or after From, and before To.
	CreatedFrom, CreatedTo, UpdatedFrom, UpdatedTo, PublishedFrom, PublishedTo time.Time
	// OrderBy is id, created_at, updated_at, published_at or title, or one of these after "-"
	// for descending. Without it the article that was published last is the first, or the best
	// match of Words.
	OrderBy string
	// Fields, if not empty, are the only fields that the articles have, by their names in
	// JSON.
	Fields []string
	// Content reports whether the articles are to have their content.
	Content bool
}

func (f ArticleFilter) query() url.Values {
	query := url.Values{}
	set(query, "tag_id", joined(f.TagIDs))
	set(query, "tag_all", joined(f.AllTagIDs))
	set(query, "tag", f.TagName)
	set(query, "title", f.Title)
	set(query, "q", f.Words)
	for name, at := range map[string]time.Time{
		"created_from": f.CreatedFrom, "created_to": f.CreatedTo, "updated_from": f.UpdatedFrom, "updated_to": f.UpdatedTo,
		"published_from": f.PublishedFrom, "published_to": f.PublishedTo,
	} {
		if !at.IsZero() {
			query.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	set(query, "order_by", f.OrderBy)
	set(query, "fields", strings.Join(f.Fields, ","))
	if f.Content {
		query.Set("include", "content")
	}
	setState(query, f.State)
	return query
}

func joined(ids []uint64) string {
	texts := make([]string, 0, len(ids))
	for _, id := range ids {
		texts = append(texts, strconv.FormatUint(id, 10))
	}
	return strings.Join(texts, ",")
}

const articlesPath = "/api/v1/articles"

// Articles returns all articles of a filter. The first error ends the list.
func (c *Client) Articles(ctx context.Context, filter ArticleFilter) iter.Seq2[Article, error] {
	return all[Article](ctx, c, c.article, articlesPath, filter.query())
}

// ArticlePage returns a page of the articles of a filter.
func (c *Client) ArticlePage(ctx context.Context, filter ArticleFilter, at PageAt) (Page[Article], error) {
	return page[Article](ctx, c, c.article, articlesPath, filter.query(), at)
}

// Article returns an article, or an error with the code ArticleNotFound.
func (c *Client) Article(ctx context.Context, id uint64, options ...Option) (Article, error) {
	return object[Article](ctx, c, newCall(http.MethodGet, c.article, at(articlesPath, id), nil, options...))
}

// ArticleBySlug returns the article with a slug, or with that former slug.
func (c *Client) ArticleBySlug(ctx context.Context, slug string, options ...Option) (Article, error) {
	return object[Article](ctx, c, newCall(http.MethodGet, c.article, articlesPath+"/slug/"+url.PathEscape(slug), nil, options...))
}

// CreateArticle creates an article.
func (c *Client) CreateArticle(ctx context.Context, article NewArticle, options ...Option) (Article, error) {
	return create[Article](ctx, c, c.article, articlesPath, article, options)
}

// UpdateArticle changes an article.
func (c *Client) UpdateArticle(ctx context.Context, id uint64, update ArticleUpdate, options ...Option) (Article, error) {
	return patch[Article](ctx, c, c.article, at(articlesPath, id), update, options)
}

// DeleteArticle deletes an article.
func (c *Client) DeleteArticle(ctx context.Context, id uint64, options ...Option) error {
	return c.remove(ctx, newCall(http.MethodDelete, c.article, at(articlesPath, id), nil, options...))
}

func (a *Article) setETag(etag string) { a.ETag = etag }

// TagCount is a tag with the number of its articles that the client sees.
type TagCount struct {
	ID    uint64 `json:"id"`
	Name  string `json:"name"`
	State State  `json:"state"`
	Count int64  `json:"count"`
}

// TagCounts returns the tags of all articles. orderBy is count or name, or one of these
// after "-" for descending; without it the tag with most articles is the first.
func (c *Client) TagCounts(ctx context.Context, orderBy string) iter.Seq2[TagCount, error] {
	query := url.Values{}
	set(query, "order_by", orderBy)
	return all[TagCount](ctx, c, c.article, articlesPath+"/tags", query)
}
