package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/services/article/internal/api"
)

// TestEveryFieldIsStored covers every field of the requests that create and change
// an article, alone and together with all others.
func TestEveryFieldIsStored(t *testing.T) {
	values := func(n int) fields {
		return fields{
			"title": fmt.Sprint("title ", n), "slug": fmt.Sprint("slug-", n), "desc": fmt.Sprint("desc ", n), "cover_image_url": fmt.Sprint("https://example.org/", n), "cover_file_id": n,
			"content": fmt.Sprint("content ", n), "state": n % 2, "publish_at": fmt.Sprintf("2026-01-02T03:04:05.00%dZ", n), "tag_ids": []int{n, n + 1}, "tag_id": n + 2, "tags": []fields{{"id": n + 3}},
		}
	}
	each(t, func(t *testing.T, s *service) {
		for range 4 { // with the ids 1 to 4
			s.upload(t, one("a.png", png(1, 1)))
		}
		created := s.create(t, apitest.EveryField[api.CreateRequest](t, values(1)))
		s.requireFields(t, created.ID, values(1))
		s.put(t, created.ID, apitest.EveryField[api.UpdateRequest](t, values(2)))
		s.requireFields(t, created.ID, values(2))
		state := apitest.EveryField[api.StateRequest](t, fields{"state": 1})
		s.expect(t, http.StatusOK, apitest.Case{Method: http.MethodPatch, Path: stateOf(created.ID), JSON: state})
		want := values(2)
		want["state"] = 1
		s.requireFields(t, created.ID, want)

		for name, value := range values(4) {
			s.put(t, created.ID, values(3))
			s.put(t, created.ID, fields{name: value})
			want := values(3)
			want[name] = value
			switch name { // each replaces the whole set of tags
			case "tag_id":
				delete(want, "tag_ids")
				delete(want, "tags")
			case "tags":
				delete(want, "tag_ids")
				delete(want, "tag_id")
			case "tag_ids":
				delete(want, "tag_id")
			}
			s.requireFields(t, created.ID, want)
		}
	})
}

// requireFields requires that the stored article has the values of a request.
func (s *service) requireFields(t *testing.T, id uint64, want fields) {
	t.Helper()
	encoded, err := json.Marshal(s.get(t, id))
	require.NoError(t, err)
	var got fields
	require.NoError(t, json.Unmarshal(encoded, &got))
	tags := map[int]bool{}
	for name, value := range want {
		switch value := value.(type) {
		case []int:
			for _, id := range value {
				tags[id] = true
			}
		case []fields:
			if _, ok := want["tag_ids"]; !ok {
				for _, tag := range value {
					tags[tag["id"].(int)] = true
				}
			}
		default:
			if name == "tag_id" {
				tags[value.(int)] = true
				continue
			}
			require.EqualValues(t, value, got[name], name)
		}
	}
	stored := map[int]bool{}
	for _, tag := range got["tags"].([]any) {
		stored[int(tag.(map[string]any)["id"].(float64))] = true
	}
	require.Equal(t, tags, stored)
}

func TestRequestsFitTheColumns(t *testing.T) {
	db := start(t, dbtest.SQLite(t)).db
	dbtest.FitColumns[api.CreateRequest](t, db, "article", "content")
	dbtest.FitColumns[api.UpdateRequest](t, db, "article", "content")
}
