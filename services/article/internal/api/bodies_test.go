package api_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
)

// unreadable fails the test when it is read.
type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

// A write without a valid token is refused before its body is read.
func TestBodiesWithoutTokenAreNotRead(t *testing.T) {
	s := embedded(t)
	reader := apitest.Token(t, s.keySet, "reader").Get("Authorization")
	for authorization, want := range map[string]int{"": 401, "Bearer x": 401, reader: 403} {
		for _, target := range []string{"POST " + articlesPath, "PUT " + at(1), "PATCH " + at(1), "PATCH " + stateOf(1)} {
			method, path, _ := strings.Cut(target, " ")
			request := httptest.NewRequest(method, path, unreadable{t})
			request.ContentLength = 1000
			request.Header.Set("Content-Type", asJSON)
			request.Header.Set("Authorization", authorization)
			recorder := httptest.NewRecorder()
			s.handler.ServeHTTP(recorder, request)
			require.Equal(t, want, recorder.Code, "%s %s", target, recorder.Body)
		}
	}
}

// What a client writes is limited by the route.
func TestLimitsOfRoutes(t *testing.T) {
	s := embedded(t)
	id := s.create(t, fields{"title": "a"}).ID
	sized := func(size int) []byte { return []byte(`{"state":1` + strings.Repeat(" ", size-11) + `}`) }
	state := apitest.Case{Method: http.MethodPatch, Path: stateOf(id), ContentType: asJSON, Body: sized(8 << 10)}
	require.Equal(t, http.StatusOK, s.Do(t, state).Status)
	state.Body = sized(8<<10 + 1)
	require.Equal(t, http.StatusRequestEntityTooLarge, s.Do(t, state).Status)
	put := apitest.Case{Method: http.MethodPut, Path: at(id), ContentType: asJSON, Body: sized(7 << 20)}
	require.Equal(t, http.StatusOK, s.Do(t, put).Status)
	put.Body = sized(7<<20 + 1)
	require.Equal(t, http.StatusRequestEntityTooLarge, s.Do(t, put).Status)
	escaped := strings.Repeat(`\u0001`, mebibyte)
	put.Body = []byte(`{"content":"` + escaped + `"}`)
	require.Equal(t, http.StatusOK, s.Do(t, put).Status)
	require.Equal(t, strings.Repeat("\x01", mebibyte), *s.get(t, id).Content)
}

// Requests that mean the same are the same under an Idempotency-Key.
func TestKeyOfEqualMeaning(t *testing.T) {
	s := embedded(t)
	n := 0
	send := func(key string, f fields) (status int, replayed bool) {
		result := s.Do(t, apitest.Case{Method: http.MethodPost, Path: articlesPath, JSON: f, Header: http.Header{"Idempotency-Key": {key}}})
		return result.Status, result.Header.Get("Idempotency-Replayed") == "true"
	}
	for name, same := range map[string][]fields{
		"tags": {
			{"title": "a", "tag_ids": []int{1, 2, 3}}, {"title": "a", "tag_ids": []int{3, 1, 2, 1}}, {"title": "a", "tag_ids": []int{3, 2}, "tag_id": 1},
			{"title": "a", "tags": []fields{{"id": 3}, {"id": 2}, {"id": 1}}}, {"title": "a", "tag_ids": []int{1, 2, 3}, "tags": []fields{{"id": 9}}},
		},
		"defaults": {
			{"title": "e\u0301"}, {"title": " \u00e9 "}, {"title": "é", "state": 1}, {"title": "é", "desc": "", "content": "", "cover_image_url": ""},
			{"title": "é", "desc": nil, "content": nil, "cover_image_url": nil, "tag_ids": nil}, {"title": "é", "tag_ids": []int{}},
		},
	} {
		for i, f := range same {
			status, replayed := send(name, f)
			require.Equal(t, http.StatusCreated, status, "%v", f)
			require.Equal(t, i > 0, replayed, "%v", f)
		}
		for _, other := range []fields{{"title": "é", "state": 0}, {"title": "é", "desc": "x"}, {"title": "é", "tag_ids": []int{1}}, {"title": "A"}} {
			status, _ := send(name, other)
			require.Equal(t, http.StatusUnprocessableEntity, status, "%v", other)
		}
		n++
	}
	require.Len(t, s.list(t, "").List, n)
}

// The response names what was ignored.
func TestIgnoredFields(t *testing.T) {
	s := embedded(t)
	created := s.Do(t, apitest.Case{Method: http.MethodPost, Path: articlesPath, JSON: fields{"title": "a", "subtitle": "b"}, Invalid: true})
	require.Equal(t, http.StatusCreated, created.Status)
	require.Equal(t, "subtitle", created.Header.Get("X-Ignored-Fields"))
	listed := s.Do(t, apitest.Case{Path: articlesPath + "?utm_source=x&page=1", Invalid: true})
	require.Equal(t, http.StatusOK, listed.Status)
	require.Equal(t, "utm_source", listed.Header.Get("X-Ignored-Fields"))
	require.Empty(t, s.Do(t, apitest.Case{Path: articlesPath + "?page=1&include=content"}).Header.Get("X-Ignored-Fields"))
}
