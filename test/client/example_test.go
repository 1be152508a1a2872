package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/client"
)

// The examples write what they print to out, and end with the first error.

// exampleCreate creates a tag and an article.
func exampleCreate(ctx context.Context, out io.Writer, config client.Config) error {
	blog, err := client.New(config) // URL, AppKey and AppSecret
	if err != nil {
		return err
	}
	defer blog.Close()
	tag, err := blog.CreateTag(ctx, client.NewTag{Name: "Operations"})
	if err != nil {
		return err
	}
	article, err := blog.CreateArticle(ctx, client.NewArticle{Title: "Restarts", Content: "# Restarts", TagIDs: []uint64{tag.ID}})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, article.Title, "is about", article.Tags[0].Name)
	return err
}

// exampleList reads all tags of a list, page by page.
func exampleList(ctx context.Context, out io.Writer, config client.Config) error {
	blog, err := client.New(config)
	if err != nil {
		return err
	}
	defer blog.Close()
	for _, name := range []string{"Go", "Golang", "Gopher", "SQL"} {
		if _, err := blog.CreateTag(ctx, client.NewTag{Name: name}); err != nil {
			return err
		}
	}
	for tag, err := range blog.Tags(ctx, client.TagFilter{Prefix: "Go", OrderBy: "-name"}) {
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintln(out, tag.Name)
	}
	return nil
}

// exampleConditionalUpdate changes an article, unless somebody else has changed it since it
// was read.
func exampleConditionalUpdate(ctx context.Context, out io.Writer, config client.Config) error {
	blog, err := client.New(config)
	if err != nil {
		return err
	}
	defer blog.Close()
	created, err := blog.CreateArticle(ctx, client.NewArticle{Title: "Draft"})
	if err != nil {
		return err
	}
	if _, err := blog.UpdateArticle(ctx, created.ID, client.ArticleUpdate{Title: new("Mine")}, client.IfMatch(created.ETag)); err != nil {
		return err
	}
	_, err = blog.UpdateArticle(ctx, created.ID, client.ArticleUpdate{Title: new("Theirs")}, client.IfMatch(created.ETag))
	if errors.Is(err, client.PreconditionFailed) {
		article, err := blog.Article(ctx, created.ID)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(out, "changed meanwhile:", article.Title)
		return err
	}
	return err
}

// exampleErrors tells errors apart by their codes, and shows what is wrong with which
// field.
func exampleErrors(ctx context.Context, out io.Writer, config client.Config) error {
	blog, err := client.New(config)
	if err != nil {
		return err
	}
	defer blog.Close()
	if _, err := blog.Article(ctx, 404); errors.Is(err, client.ArticleNotFound) {
		_, _ = fmt.Fprintln(out, "no such article")
	}
	_, err = blog.CreateTag(ctx, client.NewTag{Name: " "})
	var failure *client.Error
	if !errors.As(err, &failure) {
		return err
	}
	for _, field := range failure.Fields {
		_, _ = fmt.Fprintln(out, failure.Status, field.Field, field.Code+":", field.Message)
	}
	return nil
}

// exampleChanges keeps a copy of the articles. It would follow the feed until ctx ends, but
// stops after the third change.
func exampleChanges(ctx context.Context, out io.Writer, config client.Config) error {
	blog, err := client.New(config)
	if err != nil {
		return err
	}
	defer blog.Close()
	article, err := blog.CreateArticle(ctx, client.NewArticle{Title: "Restarts"})
	if err != nil {
		return err
	}
	if _, err := blog.CreateArticle(ctx, client.NewArticle{Title: "Upgrades"}); err != nil {
		return err
	}
	if err := blog.DeleteArticle(ctx, article.ID); err != nil {
		return err
	}
	titles := map[uint64]string{}
	offset := "" // of the last change, kept together with the copy
	for change, err := range blog.FollowArticleChanges(ctx, offset) {
		if errors.Is(err, client.ChangesTrimmed) {
			return errors.New("start over: copy the list of all articles, then follow Error.Next")
		}
		if err != nil {
			return err
		}
		if change.Kind == client.Delete {
			delete(titles, change.ID)
		} else {
			titles[change.ID] = change.Article.Title
		}
		if offset = change.Offset; strings.HasSuffix(offset, ".3") {
			break
		}
	}
	_, err = fmt.Fprintln(out, slices.Collect(maps.Values(titles)))
	return err
}

// exampleFiles uploads an image, shows it as the cover of an article, and reads it.
func exampleFiles(ctx context.Context, out io.Writer, config client.Config) error {
	blog, err := client.New(config)
	if err != nil {
		return err
	}
	defer blog.Close()
	var encoded bytes.Buffer
	if err := png.Encode(&encoded, image.NewGray(image.Rect(0, 0, 1200, 630))); err != nil {
		return err
	}
	uploaded, err := blog.UploadFiles(ctx, []client.NewFile{{Name: "cover.png", Content: encoded.Bytes()}})
	if err != nil {
		return err
	}
	cover := uploaded[0]
	article, err := blog.CreateArticle(ctx, client.NewArticle{Title: "Restarts", CoverFileID: cover.ID})
	if err != nil {
		return err
	}
	var content bytes.Buffer
	if err := blog.DownloadFile(ctx, *article.CoverFileID, &content); err != nil {
		return err
	}
	for file, err := range blog.Files(ctx, client.FileFilter{CreatedBy: "demo"}) {
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintln(out, file.Name, file.Type, file.Width, file.Height, bytes.Equal(content.Bytes(), encoded.Bytes()))
	}
	if err := blog.DeleteFile(ctx, cover.ID); errors.Is(err, client.FileInUse) {
		_, _ = fmt.Fprintln(out, "it is in use")
	}
	if err := blog.DeleteArticle(ctx, article.ID); err != nil {
		return err
	}
	return blog.DeleteFile(ctx, cover.ID)
}

func TestExamples(t *testing.T) {
	for name, example := range map[string]struct {
		run  func(context.Context, io.Writer, client.Config) error
		want string
	}{
		"create":             {exampleCreate, "Restarts is about Operations\n"},
		"list":               {exampleList, "Gopher\nGolang\nGo\n"},
		"conditional update": {exampleConditionalUpdate, "changed meanwhile: Mine\n"},
		"files":              {exampleFiles, "cover.png image/png 1200 630 true\nit is in use\n"},
		"changes":            {exampleChanges, "[Upgrades]\n"},
		"errors":             {exampleErrors, "no such article\n400 name required: name must not be blank\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			require.NoError(t, example.run(t.Context(), &out, start(t, nil).config))
			require.Equal(t, example.want, out.String())
		})
	}
}
