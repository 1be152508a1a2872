package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/achilles-blog/achilles/pkg/client"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

const demoClients = 8

// api is a client of the gateway.
type api struct {
	*client.Client
	base string
}

// errUnknownClient means that no client has this key and secret.
var errUnknownClient = errors.New("there is no such client")

func newAPI(base string, own credentials) (*api, error) {
	c, err := client.New(client.Config{URL: base, AppKey: own.key, AppSecret: own.secret})
	if err != nil {
		return nil, err
	}
	return &api{c, base}, nil
}

// login gets a token. It returns errUnknownClient if the service rejects key and secret.
func (a *api) login(ctx context.Context) error {
	_, err := a.Token(ctx)
	if errors.Is(err, client.UnknownClient) {
		return errUnknownClient
	}
	return a.explain(err)
}

// createTag creates a tag and returns its id, or returns the id of the tag that
// has the name already.
func (a *api) createTag(ctx context.Context, name string) (id uint64, added bool, err error) {
	created, err := a.CreateTag(ctx, client.NewTag{Name: name})
	if !errors.Is(err, client.TagNameExists) {
		return created.ID, err == nil, a.explain(err)
	}
	id, found, err := a.findTag(ctx, name)
	if err == nil && !found {
		err = fmt.Errorf("the tag %q exists but isn't listed", name)
	}
	return id, false, err
}

// findTag returns the id of the tag of that name.
func (a *api) findTag(ctx context.Context, name string) (id uint64, found bool, err error) {
	for tag, err := range a.Tags(ctx, client.TagFilter{Name: name}) {
		return tag.ID, err == nil, a.explain(err)
	}
	return 0, false, nil
}

// titles returns the titles of all articles.
func (a *api) titles(ctx context.Context) (map[string]bool, error) {
	titles := make(map[string]bool)
	for article, err := range a.Articles(ctx, client.ArticleFilter{Fields: []string{"title"}}) {
		if errors.Is(err, client.Code(errcode.NotFound)) {
			return nil, errors.New("the demo is of tags and articles, and this system has no articles")
		}
		if err != nil {
			return nil, a.explain(err)
		}
		titles[article.Title] = true
	}
	return titles, nil
}

func (a *api) createArticle(ctx context.Context, p post, tags []uint64) error {
	_, err := a.CreateArticle(ctx, client.NewArticle{Title: p.Title, Desc: p.Desc, Content: p.Content, CoverImageURL: p.Cover, TagIDs: tags})
	return a.explain(err)
}

// explain says what to do if the address is not that of make run.
func (a *api) explain(err error) error {
	var failure *client.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing runs on %s: start make run in another terminal, or give the DATA of the one that runs", a.base)
	case errors.As(err, &failure) && failure.Code == 0:
		return fmt.Errorf("the server on %s is not Achilles: give the PORT of make run (%w)", a.base, err)
	default:
		return err
	}
}
