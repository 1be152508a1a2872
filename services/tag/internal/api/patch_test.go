package api_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

const mergePatch = "application/merge-patch+json"

func patch(id uint64, contentType, body string) apitest.Case {
	return apitest.Case{Method: http.MethodPatch, Path: at(id), Body: []byte(body), ContentType: contentType}
}

func TestPatch(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		was := s.create(t, fields{"name": "one"})
		s.create(t, fields{"name": "taken"})
		for _, contentType := range []string{mergePatch, jsonType, mergePatch + ";charset=UTF-8"} {
			c := patch(was.ID, contentType, `{}`)
			c.Invalid = contentType == mergePatch+";charset=UTF-8"
			require.Equal(t, s.get(t, was.ID), s.expectTag(t, http.StatusOK, c), "an empty patch changes nothing")
		}
		disabled := s.expectTag(t, http.StatusOK, patch(was.ID, mergePatch, `{"state":0}`))
		require.Equal(t, [2]any{"one", 0}, [2]any{disabled.Name, disabled.State})
		renamed := s.expectTag(t, http.StatusOK, patch(was.ID, mergePatch, `{"name":" two "}`))
		require.Equal(t, [2]any{"two", 0}, [2]any{renamed.Name, renamed.State})
		require.Equal(t, renamed, s.get(t, was.ID))

		s.requireError(t, patch(was.ID, mergePatch, `{"name":"taken"}`), errcode.TagNameExists, "name已被其他标签使用")
		s.requireError(t, patch(99, mergePatch, `{"name":"x"}`), errcode.TagNotFound)
		stale := patch(was.ID, mergePatch, `{"name":"x"}`)
		stale.Header = http.Header{"If-Match": {`"1.x.en"`}}
		require.Equal(t, http.StatusPreconditionFailed, s.Do(t, stale).Status)
		require.Equal(t, renamed, s.get(t, was.ID))
		current := patch(was.ID, mergePatch, `{"name":"three"}`)
		current.Header = http.Header{"If-Match": {s.etag(t, was.ID)}}
		require.Equal(t, "three", s.expectTag(t, http.StatusOK, current).Name)
	})
}

func TestInvalidPatches(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	was := s.create(t, fields{"name": "one"})
	for body, details := range map[string][]string{
		`{"name":null}`:                 {"name不能为 null"},
		`{"name":null,"state":null}`:    {"name不能为 null", "state不能为 null"},
		`{"name":{"name":"x"}}`:         {"name必须是字符串"},
		`{"name":"a","name":"b"}`:       {"name只能出现一次"},
		`{"Name":"a"}`:                  {`没有字段"Name", 是否指name`},
		`null`:                          {"请求体必须是一个 JSON 对象"},
		`[{"op":"remove","path":"/x"}]`: {"请求体必须是一个 JSON 对象"},
	} {
		c := patch(was.ID, mergePatch, body)
		c.Invalid = true
		s.requireError(t, c, errcode.InvalidParams, details...)
	}
	for _, contentType := range []string{"", formType, "application/json-patch+json", "application/merge-patch", mergePatch + "; charset=gbk"} {
		for language, detail := range map[string]string{
			"zh":         "Content-Type 必须是 application/merge-patch+json 或 application/json, 字符集为 UTF-8",
			"en":         "Content-Type must be application/merge-patch+json or application/json, in UTF-8",
			"zh_Hant_TW": "Content-Type 必須是 application/merge-patch+json 或 application/json, 字元集為 UTF-8",
		} {
			c := patch(was.ID, contentType, `{"name":"x"}`)
			c.Invalid, c.Header = true, in(language)
			result := s.Do(t, c)
			requireProblem(t, result, errcode.UnsupportedMediaType, errcode.UnsupportedMediaType.Message(language), []string{detail})
			require.Equal(t, "application/merge-patch+json, application/json", result.Header.Get("Accept-Patch"))
		}
	}
	compressed := patch(was.ID, mergePatch, `{"name":"x"}`)
	compressed.Header, compressed.Invalid = http.Header{"Content-Encoding": {"gzip"}}, true
	require.NotEmpty(t, s.Do(t, compressed).Header.Get("Accept-Patch"))
	put := apitest.Case{Method: http.MethodPut, Path: at(was.ID), Body: []byte(`{"name":"x"}`), ContentType: mergePatch, Invalid: true}
	require.Equal(t, http.StatusUnsupportedMediaType, s.Do(t, put).Status, "a merge patch is for PATCH")
	require.Equal(t, was, s.get(t, was.ID))
}
