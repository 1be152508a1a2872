package api

import (
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

const (
	contentField = "content"
	// omittedField reports that content is missing: a response that has content has it, too.
	omittedField = "content_omitted"
)

// selection has the names of the fields that the articles of a response have, in the order
// of Article; nil means all fields.
type selection []string

// selectable returns the names that a client may select.
func selectable() []string {
	return slices.DeleteFunc(requests.Names[Article](), func(name string) bool { return name == omittedField })
}

func parseFields(text *string, reject func(string, errcode.Detail)) selection {
	if text == nil {
		return nil
	}
	names, problem, ok := requests.ParseNames("fields", *text, selectable())
	if !ok {
		reject("fields", problem)
		return nil
	}
	return names
}

// has reports whether the articles have a field.
func (s selection) has(name string) bool { return s == nil || slices.Contains(s, name) }

// with returns the selection with one more field.
func (s selection) with(name string) selection {
	if s.has(name) {
		return s
	}
	return slices.DeleteFunc(selectable(), func(one string) bool { return one != name && !slices.Contains(s, one) })
}

// encoder returns the encoder of the articles.
func (s selection) encoder() responses.Encoder[Article] {
	switch {
	case s == nil:
		return encoder
	case s.has(contentField):
		return encoder.Only(append(slices.Clone(s), omittedField))
	default:
		return encoder.Only(s)
	}
}

// shape returns the shape of a response with the articles.
func (s selection) shape() responses.Shape {
	if s == nil {
		return shape
	}
	return shape.Only(s)
}

// etag returns the entity tag of an article with these fields.
func (s selection) etag(a *article.View) responses.ETag {
	return responses.ETag{Version: a.Version(), Shape: s.shape(), Object: a.ID}
}

// GetFilter says what the response with an article has.
type GetFilter struct {
	Fields *string `json:"fields"`

	shown selection
}

// Parse implements requests.Parser.
func (f *GetFilter) Parse(reject func(string, errcode.Detail)) {
	f.shown = parseFields(f.Fields, reject)
}

// selection returns the fields that a request for an article asks for. Most requests have
// no query, and cost nothing here.
func (a *API) selection(c *gin.Context) (selection, error) {
	if c.Request.URL.RawQuery == "" {
		return nil, nil
	}
	var request GetFilter
	err := a.Binder.Query(c, &request)
	return request.shown, err
}
