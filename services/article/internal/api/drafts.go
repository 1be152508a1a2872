package api

import (
	"time"

	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// Normalize returns the draft of a new article as if a client had sent it, or an
// errcode.InvalidParams error. It doesn't change the draft.
func Normalize(binder *requests.Binder, draft article.Draft) (article.Draft, error) {
	request := CreateRequest{
		Title: clone(draft.Title), Slug: clone(draft.Slug), Desc: clone(draft.Desc), CoverImageURL: clone(draft.CoverImageURL), CoverFileID: clone(draft.CoverFileID), Content: clone(draft.Content),
		TagIDs: draft.TagIDs,
	}
	if at := draft.PublishedAt; at != nil {
		request.PublishAt = new("")
		if !at.IsZero() {
			*request.PublishAt = at.Format(time.RFC3339Nano)
		}
	}
	if draft.State != nil {
		request.State = new(int(*draft.State))
	}
	if err := binder.Check(&request); err != nil {
		return article.Draft{}, err
	}
	return request.draft(draft.Actor), nil
}

// CheckTagName returns an errcode.InvalidParams error unless the tag service accepts the name of a tag.
func CheckTagName(binder *requests.Binder, name string) error {
	return binder.Check(&struct {
		Name *string `json:"name" validate:"required,notblank,max=100" text:"nfc,trim,line"` // as in the tag service
	}{&name})
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	return new(*p)
}
