package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/api"
)

const mergePatch = "application/merge-patch+json"

func patch(id uint64, body string) apitest.Case {
	return apitest.Case{Method: http.MethodPatch, Path: at(id), Body: []byte(body), ContentType: mergePatch}
}

// A merge patch changes each field alone, as PUT does.
func TestPatch(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		full := fields{"title": "old", "desc": "d", "cover_image_url": "https://old", "content": "c", "state": 0, "tag_ids": []int{1, 2}}
		for body, change := range map[string]func(*api.Article){
			`{}`:                              func(*api.Article) {},
			`{"title":" new "}`:               func(a *api.Article) { a.Title = "new" },
			`{"desc":"new"}`:                  func(a *api.Article) { a.Desc = "new" },
			`{"desc":null}`:                   func(a *api.Article) { a.Desc = "" },
			`{"content":"新"}`:                 func(a *api.Article) { a.Content = pointer("新") },
			`{"content":null}`:                func(a *api.Article) { a.Content = pointer("") },
			`{"cover_image_url":null}`:        func(a *api.Article) { a.CoverImageURL = "" },
			`{"state":1}`:                     func(a *api.Article) { a.State = 1 },
			`{"tag_ids":[3]}`:                 func(a *api.Article) { a.Tags = withTags("", 3).Tags },
			`{"tags":[{"id":3,"name":"x"}]}`:  func(a *api.Article) { a.Tags = withTags("", 3).Tags },
			`{"tags":[]}`:                     func(a *api.Article) { a.Tags = []api.Tag{} },
			`{"tags":null}`:                   func(a *api.Article) { a.Tags = []api.Tag{} },
			`{"tag_id":3,"title":"a"}`:        func(a *api.Article) { a.Title, a.Tags = "a", withTags("", 3).Tags },
			`{"id":7,"created_by":"x"}`:       func(*api.Article) {},
			`{"desc":"new","content":"more"}`: func(a *api.Article) { a.Desc, a.Content = "new", pointer("more") },
		} {
			want := s.create(t, full)
			c := patch(want.ID, body)
			c.Invalid = true // the description has no tags as they are read
			updated := s.expect(t, http.StatusOK, c)
			require.Equal(t, updated, s.get(t, want.ID), "the response is the stored article")
			change(&want)
			want.UpdatedAt = updated.UpdatedAt
			require.Equal(t, want, updated, body)
		}
	})
}

func TestInvalidPatches(t *testing.T) {
	s := embedded(t)
	was := s.create(t, fields{"title": "old", "content": "c"})
	for body, details := range map[string][]string{
		`{"title":null,"state":null}`: {"title不能为 null", "state不能为 null"},
		`{"tags":{"0":{"id":1}}}`:     {"tags必须是数组"},
		`{"Title":"a"}`:               {`没有字段"Title", 是否指title`},
		`"title"`:                     {"请求体必须是一个 JSON 对象"},
	} {
		c := patch(was.ID, body)
		c.Invalid = true
		s.requireError(t, c, errcode.InvalidParams, details...)
	}
	s.requireError(t, patch(was.ID, `{"tag_ids":[99]}`), errcode.UnknownTags, "tag_ids包含不存在的标签: 99")
	s.requireError(t, patch(99, `{"title":"x"}`), errcode.ArticleNotFound)
	form := apitest.Case{Method: http.MethodPatch, Path: at(was.ID), Body: []byte("title=x"), ContentType: asForm, Invalid: true}
	result := s.requireError(t, form, errcode.UnsupportedMediaType, "Content-Type 必须是 application/merge-patch+json 或 application/json, 字符集为 UTF-8")
	require.Equal(t, "application/merge-patch+json, application/json", result.Header.Get("Accept-Patch"))
	large := patch(was.ID, `{"content":"`+strings.Repeat("x", mebibyte)+`"}`)
	require.Equal(t, http.StatusOK, s.Do(t, large).Status)
	large.Body = []byte(`{"content":"` + strings.Repeat("x", mebibyte+1) + `"}`)
	require.Equal(t, http.StatusRequestEntityTooLarge, s.Do(t, large).Status)
}
