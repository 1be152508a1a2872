package api_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/services/tag/internal/api"
)

// TestEveryFieldIsStored covers every field of the requests that create and
// change a tag.
func TestEveryFieldIsStored(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		id := s.create(t, apitest.EveryField[api.CreateRequest](t, fields{"name": "one", "state": 0})).ID
		require.Equal(t, "one", s.get(t, id).Name)
		require.Equal(t, 0, s.get(t, id).State)
		change := apitest.Case{Method: http.MethodPut, Path: at(id), JSON: apitest.EveryField[api.UpdateRequest](t, fields{"name": "two", "state": 1})}
		s.expectTag(t, http.StatusOK, change)
		require.Equal(t, "two", s.get(t, id).Name)
		require.Equal(t, 1, s.get(t, id).State)
	})
}

func TestRequestsFitTheColumns(t *testing.T) {
	db := start(t, dbtest.SQLite(t)).db
	dbtest.FitColumns[api.CreateRequest](t, db, "tag")
	dbtest.FitColumns[api.UpdateRequest](t, db, "tag")
}
