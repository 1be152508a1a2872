package process_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/test/process"
)

func TestMain(m *testing.M) { process.Main(m) }

// pair is a tag service and an article service that follows it, with their settings and
// databases.
type pair struct {
	tag, article                 *process.Process
	tagSettings, articleSettings process.Settings
	tagDatabase, articleDatabase database.Config
	tagProgram, articleProgram   string
}

// newPair starts both services with new databases, and waits until they are ready.
func newPair(t *testing.T, fresh func(testing.TB) database.Config, more process.Settings) *pair {
	t.Helper()
	p := &pair{
		tagProgram: process.Service(t, "tag"), articleProgram: process.Service(t, "article"),
		tagDatabase: fresh(t), articleDatabase: fresh(t),
	}
	p.tagSettings = process.On(p.tagDatabase).With(more)
	p.tag = process.Ready(t, p.tagProgram, p.tagSettings)
	p.articleSettings = process.Follow(p.articleDatabase, p.tag.Addr(t)).With(more)
	p.article = process.Ready(t, p.articleProgram, p.articleSettings)
	return p
}

// ask sends a request and returns the response.
func ask(t *testing.T, p *process.Process, method, path string, body any) process.Answer {
	t.Helper()
	answer, err := process.Ask(method, p.URL(t, path), body)
	require.NoError(t, err)
	return answer
}

// create creates an object and returns its id.
func create(t *testing.T, p *process.Process, path string, body any) uint64 {
	t.Helper()
	answer := ask(t, p, "POST", path, body)
	require.Equal(t, 201, answer.Status, string(answer.Body))
	return answer.ID()
}

func newTag(name string) map[string]any { return map[string]any{"name": name} }

func newArticle(title string, tagIDs ...uint64) map[string]any {
	return map[string]any{"title": title, "content": "text", "tag_ids": tagIDs}
}

// rows returns the result of a query. It keeps no connection: tests poll it.
func rows[T any](t *testing.T, cfg database.Config, query string) []T {
	t.Helper()
	db, err := database.Open(cfg, zaptest.NewLogger(t))
	require.NoError(t, err)
	var found []T
	err = db.Gorm(t.Context()).Raw(query).Scan(&found).Error
	require.NoError(t, errors.Join(err, db.Close()))
	return found
}

// one returns the row of a query.
func one[T any](t *testing.T, db *database.DB, query string) (row T) {
	t.Helper()
	require.NoError(t, db.Gorm(t.Context()).Raw(query).Scan(&row).Error)
	return row
}
