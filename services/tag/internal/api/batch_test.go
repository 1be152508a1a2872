package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/tag/internal/api"
)

const batchPath = tagsPath + "/batch"

type result = responses.BatchResult[api.Tag]

// batch sends a batch.
func (s *service) batch(t *testing.T, key string, atomic bool, tags ...any) *apitest.Result {
	t.Helper()
	header := in("en")
	if key != "" {
		header.Set("Idempotency-Key", key)
	}
	return s.Do(t, apitest.Case{Method: http.MethodPost, Path: batchPath, JSON: fields{"atomic": atomic, "tags": tags}, Header: header, Invalid: true})
}

func (s *service) createAll(t *testing.T, key string, tags ...any) ([]api.Tag, *apitest.Result) {
	t.Helper()
	answer := s.batch(t, key, true, tags...)
	require.Equal(t, http.StatusCreated, answer.Status, "%s", answer.Body)
	var response responses.Envelope[api.CreatedTags]
	answer.JSON(t, &response)
	return response.Data.Tags, answer
}

func (s *service) createEach(t *testing.T, key string, tags ...any) []result {
	t.Helper()
	answer := s.batch(t, key, false, tags...)
	require.Equal(t, http.StatusOK, answer.Status, "%s", answer.Body)
	var response responses.BatchEnvelope[api.Tag]
	answer.JSON(t, &response)
	return response.Data.Results
}

func codes(results []result) (found []errcode.Code) {
	for _, one := range results {
		found = append(found, errcode.Code(one.Code))
	}
	return found
}

func problemOf(t *testing.T, answer *apitest.Result, code errcode.Code) responses.Problem {
	t.Helper()
	require.Equal(t, statuses[code], answer.Status, "%s", answer.Body)
	var problem responses.Problem
	answer.JSON(t, &problem)
	require.EqualValues(t, code, problem.Code)
	return problem
}

func TestAtomicBatch(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		var all []any
		for n := range 100 {
			all = append(all, fields{"name": fmt.Sprintf("%03d %s", 99-n, strings.Repeat("😀", 96)), "state": n % 2})
		}
		created, answer := s.createAll(t, "k", all...)
		require.Empty(t, answer.Header.Get("Idempotency-Replayed"))
		require.Len(t, created, 100)
		for n, one := range created {
			require.Equal(t, all[n].(fields)["name"], one.Name, "in the order of the request")
			require.Equal(t, one, s.get(t, one.ID))
		}
		require.EqualValues(t, 50, s.list(t, "state=1").Pager.TotalRows)
		again, answer := s.createAll(t, "k", all...)
		require.Equal(t, "true", answer.Header.Get("Idempotency-Replayed"))
		require.Equal(t, created, again)
		problemOf(t, s.batch(t, "k", true, all[0]), errcode.KeyReused)
		problemOf(t, s.batch(t, "k", false, all...), errcode.KeyReused)

		changes, err := s.store.Changes(t.Context(), 0, 200)
		require.NoError(t, err)
		require.Len(t, changes.Changes, 100, "one change for each tag, without gaps")
		for n, c := range changes.Changes {
			require.EqualValues(t, n+1, c.Sequence)
			require.Equal(t, created[n].ID, c.TagID)
		}
		repaired, err := s.store.Recount(t.Context())
		require.NoError(t, err)
		require.Empty(t, repaired)
	})
}

func TestAtomicBatchIsAllOrNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		s.create(t, fields{"name": "taken"})
		for field, c := range map[string]struct {
			code errcode.Code
			tags []any
		}{
			"tags[1].name":  {errcode.TagNameExists, []any{fields{"name": "a"}, fields{"name": "taken"}}},
			"tags[2].name":  {errcode.TagNameExists, []any{fields{"name": "b"}, fields{"name": "a"}, fields{"name": "b"}}},
			"tags[1].state": {errcode.InvalidParams, []any{fields{"name": "a"}, fields{"name": "b", "state": 7}}},
			"tags[0]":       {errcode.InvalidParams, []any{nil}},
		} {
			problem := problemOf(t, s.batch(t, "k", true, c.tags...), c.code)
			require.Len(t, problem.Errors, 1)
			require.Equal(t, field, problem.Errors[0].Field)
		}
		require.EqualValues(t, 1, s.list(t, "").Pager.TotalRows)
		s.createAll(t, "k", fields{"name": "a"}, fields{"name": "b"})
	})
}

func TestBatchWithResults(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		taken := s.create(t, fields{"name": "taken"})
		all := []any{fields{"name": "a"}, fields{"name": " "}, fields{"name": "taken"}, fields{"name": "a"}, fields{"name": "b", "state": 0}}
		want := []errcode.Code{0, errcode.InvalidParams, errcode.TagNameExists, errcode.TagNameExists, 0}
		first := s.createEach(t, "k", all...)
		require.Equal(t, want, codes(first))
		require.Equal(t, "tags[3].name", first[3].Errors[0].Field)
		require.Equal(t, []string{"tags[3]: another tag has this name"}, first[3].Details)
		s.delete(t, taken.ID)
		again := s.createEach(t, "k", all...)
		want[2] = 0
		require.Equal(t, want, codes(again))
		require.True(t, again[0].Replayed)
		require.Equal(t, first[0].Data, again[0].Data)
		require.Equal(t, first[4].Data, again[4].Data)
		all[1] = fields{"name": "c"}
		problemOf(t, s.batch(t, "k", false, all...), errcode.KeyReused)
		require.ElementsMatch(t, []string{"a", "taken", "b"}, names(s.list(t, "").List))
	})
}

func TestInvalidBatches(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	for field, body := range map[string]any{
		"tags": fields{}, "atomic": fields{"tags": []any{fields{"name": "a"}}, "atomic": 0}, "tag": fields{"tag": []any{}}, "": nil,
	} {
		if field == "" {
			body = fields{"tags": make([]any, 101)}
			field = "tags"
		}
		problem := problemOf(t, s.Do(t, apitest.Case{Method: http.MethodPost, Path: batchPath, JSON: body, Invalid: true}), errcode.InvalidParams)
		require.Equal(t, field, problem.Errors[0].Field)
	}
	large := `{"tags":[{"name":"` + strings.Repeat("a", api.MaxBatchBytes) + `"}]}`
	problemOf(t, s.Do(t, apitest.Case{Method: http.MethodPost, Path: batchPath, Body: []byte(large), ContentType: "application/json", Invalid: true}), errcode.TooLarge)
	require.Equal(t, http.StatusUnauthorized, s.anonymous.Do(t, apitest.Case{Method: http.MethodPost, Path: batchPath, JSON: fields{"tags": []any{fields{"name": "a"}}}}).Status)

	var largest []string
	for n := range 100 {
		largest = append(largest, fmt.Sprintf(`{"name":"%s%03d"}`, strings.Repeat(`\ud83d\ude00`, 97), n))
	}
	text := `{"atomic":true,"tags":[` + strings.Join(largest, ",") + `]}`
	answer := s.Do(t, apitest.Case{Method: http.MethodPost, Path: batchPath, Body: []byte(text), ContentType: "application/json"})
	require.Equal(t, http.StatusCreated, answer.Status, "the longest names, escaped: %s", answer.Body)
}
