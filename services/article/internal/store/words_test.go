package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/search"
)

// anyText returns a text of few different words, so that searches have many results.
func anyText() string { return anyTitle() + anyTitle() }

// words returns the index of words: those of each article.
func (f fixture) words(t *testing.T) map[uint64][]search.Word {
	t.Helper()
	rows, err := f.db.SQL().QueryContext(t.Context(), "SELECT article_id, word, weight FROM blog_article_word ORDER BY article_id, word")
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	words := map[uint64][]search.Word{}
	for rows.Next() {
		var id uint64
		var text []byte
		var weight uint8
		require.NoError(t, rows.Scan(&id, &text, &weight))
		words[id] = append(words[id], search.Word{Text: string(text), Weight: weight})
	}
	require.NoError(t, rows.Err())
	return words
}

// requireWords requires that the index has the words of all articles and no others, and that
// ReindexWords agrees.
func (f fixture) requireWords(t *testing.T) {
	t.Helper()
	require.Equal(t, f.allWords(t), f.words(t))
	added, removed, err := f.ReindexWords(t.Context(), func(string) {})
	require.NoError(t, err)
	require.Zero(t, added)
	require.Zero(t, removed)
}

// allWords returns the words that the index should have.
func (f fixture) allWords(t *testing.T) map[uint64][]search.Word {
	t.Helper()
	rows, err := f.db.SQL().QueryContext(t.Context(), "SELECT id, title, `desc`, content FROM blog_article WHERE is_deleted = 0")
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	want := map[uint64][]search.Word{}
	for rows.Next() {
		var id uint64
		var title, desc, content string
		require.NoError(t, rows.Scan(&id, &title, &desc, &content))
		if words := search.Words(title, desc, content); len(words) > 0 {
			want[id] = words
		}
	}
	require.NoError(t, rows.Err())
	return want
}

// withText returns a draft of an article with a text.
func withText(title, desc, content string) article.Draft {
	d := draft(title)
	d.Desc, d.Content, d.TagIDs = &desc, &content, nil
	return d
}

// Each write changes the index of words by what it changes.
func TestWordIndex(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		one := s.create(t, "滚动重启").ID
		for range 2 { // the second is a repeat
			require.NoError(t, third(s.Create(t.Context(), withText("Go", "a desc", "123 007 +1 \\ \"quoted\" 'x'"), withKey("a"))))
		}
		require.NoError(t, third(s.Create(t.Context(), withText("-", "", "。"), idempotency.Key{})))
		require.Error(t, third(s.Create(t.Context(), draft("unknown tag", 99), idempotency.Key{})))
		s.requireWords(t)
		for _, d := range []article.Draft{
			withText("重启", "Redis", "重启 Redis"), withText("重启", "REDIS", "重启, REDIS!"), withText("Redis", "重启 Ｃ＃", "c++"), withText("x", "", ""),
			withText(strings.Repeat("字a", 50), strings.Repeat("\ufdfa", 255), strings.Repeat("😀 ", 5)+strings.Repeat("x", 10_000)),
			{}, {Desc: pointer("")}, {Content: pointer("")}, ofState(article.Disabled),
		} {
			require.NoError(t, second(s.Update(t.Context(), one, d, nil)))
			s.requireWords(t)
		}
		require.NoError(t, s.Delete(t.Context(), one, "", nil))
		s.requireWords(t)
		require.Len(t, s.words(t), 1)
	})
}

// A write that changes no text doesn't touch the index.
func TestWritesThatChangeNoWords(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1, 2))
		id := s.create(t, "Go", 1).ID
		touched := 0
		s.db.OnQuery(func(query string, _ []any) {
			if strings.Contains(query, "article_word") {
				touched++
			}
		})
		for _, d := range []article.Draft{{Title: pointer("go, GO")}, {CoverImageURL: pointer("https://example.org")}, {TagIDs: &[]uint64{2}}, ofState(article.Disabled), {Content: pointer("...")}} {
			require.NoError(t, second(s.Update(t.Context(), id, d, nil)))
		}
		require.Zero(t, touched)
		require.NoError(t, second(s.Update(t.Context(), id, article.Draft{Content: pointer("go")}, nil)))
		require.Equal(t, 1, touched)
	})
}

// The largest article takes a small part of Database.Timeout, whatever its words are.
func TestLargestArticles(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		text := func(first int) string {
			var text strings.Builder
			for i := first; text.Len() < 1<<20-20; i++ {
				fmt.Fprintf(&text, "w%d ", i*7919%1_000_003)
			}
			return text.String()
		}
		took := map[string]time.Duration{}
		measure := func(what string, err func() error) {
			start := time.Now()
			require.NoError(t, err())
			took[what] = time.Since(start)
		}
		var id uint64
		measure("POST", func() error {
			created, _, err := s.Create(t.Context(), withText("a", "b", text(0)), idempotency.Key{})
			id = created.ID
			return err
		})
		require.Len(t, s.words(t)[id], search.MaxWords)
		measure("PUT", func() error { return second(s.Update(t.Context(), id, withText("c", "d", text(500_000)), nil)) })
		s.requireWords(t)
		measure("DELETE", func() error { return s.Delete(t.Context(), id, "", nil) })
		require.Empty(t, s.words(t))
		t.Log(took)
	})
}

// The words of a transaction that is repeated after a deadlock are right, and the words of
// one that fails are not there.
func TestWordsAreTransactional(t *testing.T) {
	s := open(t, dbtest.SQLite(t))
	s.exec(t, "CREATE TRIGGER reject BEFORE INSERT ON blog_article_count BEGIN SELECT RAISE(ABORT, 'rejected'); END")
	require.Error(t, third(s.Create(t.Context(), draft("Go"), idempotency.Key{})))
	require.Empty(t, s.words(t))
}
