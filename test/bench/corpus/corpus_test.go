package corpus_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/bench/corpus"
)

type tag struct {
	ID    uint64 `json:"id"`
	Name  string `json:"name"`
	State int    `json:"state"`
}

type article struct {
	ID      uint64 `json:"id"`
	Title   string `json:"title"`
	Desc    string `json:"desc"`
	Content string `json:"content,omitempty"`
	Tags    []tag  `json:"tags"`
}

func encode(t *testing.T, value any) []byte {
	t.Helper()
	text, err := json.Marshal(value)
	require.NoError(t, err)
	return text
}

func of(id uint64, content bool) article {
	a := corpus.New(id)
	encoded := article{ID: id, Title: a.Title, Desc: a.Desc}
	if content {
		encoded.Content = a.Content
	}
	for _, each := range a.TagIDs {
		encoded.Tags = append(encoded.Tags, tag{each, corpus.TagName(each), 1})
	}
	return encoded
}

func TestCheckArticle(t *testing.T) {
	total := 0
	for id := uint64(1); id <= 3000; id++ {
		body := encode(t, map[string]any{"code": 0, "data": of(id, true)})
		require.NoError(t, corpus.CheckArticle(body, id))
		require.NoError(t, corpus.CheckContent(body, id))
		require.Error(t, corpus.CheckArticle(body, id+1))
		total += len(body)
	}
	require.InDelta(t, 1700, total/3000, 300, "bytes of a response")
}

func TestCheckArticleDetectsDifferences(t *testing.T) {
	for name, change := range map[string]func(*article){
		"another title":   func(a *article) { a.Title += "x" },
		"content cut off": func(a *article) { a.Content = a.Content[:len(a.Content)-1] },
		"more content":    func(a *article) { a.Content += "x" },
		"other content":   func(a *article) { a.Content = of(5, true).Content },
		"a tag missing":   func(a *article) { a.Tags = a.Tags[:2] },
		"a tag renamed":   func(a *article) { a.Tags[1].Name = "x" },
		"a tag disabled":  func(a *article) { a.Tags[2].State = 0 },
	} {
		a := of(4, true)
		change(&a)
		require.Error(t, corpus.CheckArticle(encode(t, map[string]any{"data": a}), 4), name)
	}
}

func TestPage(t *testing.T) {
	list := func(total int, ids ...uint64) []byte {
		all := []article{}
		for _, id := range ids {
			all = append(all, of(id, false))
		}
		return encode(t, map[string]any{"list": all, "pager": map[string]int{"page": 1, "total_rows": total}})
	}
	first := corpus.Page(100, corpus.Filter{}, 1, 3)
	require.NoError(t, first.Check(list(100, 100, 99, 98)))
	require.Error(t, first.Check(list(100, 100, 98, 99)), "order")
	require.Error(t, first.Check(list(100, 100, 99)), "too short")
	require.Error(t, first.Check(list(100, 100, 99, 98, 97)), "too long")
	require.Error(t, first.Check(list(99, 100, 99, 98)), "total")
	require.Error(t, first.Check(list(1000, 100, 99, 98)), "total with more digits")
	atLeast := strings.Replace(string(list(50, 100, 99, 98)), `"total_rows"`, `"total_relation":"gte","total_rows"`, 1)
	require.NoError(t, first.Check([]byte(atLeast)))

	require.NoError(t, corpus.Page(100, corpus.Filter{}, 2, 3).Check(list(100, 97, 96, 95)))
	require.NoError(t, corpus.Page(100, corpus.Filter{TagID: corpus.TopTag}, 1, 2).Check(list(50, 100, 98)))
	require.NoError(t, corpus.Page(100, corpus.Filter{TagID: corpus.RareTag}, 1, 10).Check(list(3, 87, 58, 29)))
	require.NoError(t, corpus.Page(2000, corpus.Filter{Title: corpus.Canary}, 1, 10).Check(list(2, 1994, 997)))
	require.NoError(t, corpus.Page(2000, corpus.Filter{Title: corpus.NoTitle}, 1, 10).Check(list(0)))
}

func TestTags(t *testing.T) {
	for id := uint64(1); id <= 3000; id++ {
		ids := corpus.New(id).TagIDs
		require.Len(t, ids, 3)
		require.Less(t, ids[0], ids[1])
		require.Less(t, ids[1], ids[2])
		require.Equal(t, id%2 == 0, ids[0] == corpus.TopTag)
		require.LessOrEqual(t, ids[2], uint64(corpus.Tags))
	}
}

func TestCreated(t *testing.T) {
	var sent struct {
		Title, Desc, Content string
		TagIDs               []uint64 `json:"tag_ids"`
	}
	require.NoError(t, json.Unmarshal(corpus.AppendRequest(nil, 58), &sent))
	a := corpus.New(58)
	require.Equal(t, []any{a.Title, a.Desc, a.Content, a.TagIDs}, []any{sent.Title, sent.Desc, sent.Content, sent.TagIDs})
	created := of(58, true)
	created.ID = 1234
	require.NoError(t, corpus.CheckCreated(encode(t, map[string]any{"data": created}), 58))
	created.Tags[0].ID++
	require.Error(t, corpus.CheckCreated(encode(t, map[string]any{"data": created}), 58))
}

// Words are in as many articles as their names say.
func TestWords(t *testing.T) {
	const articles = 2000
	in := map[string]int{}
	for id := uint64(1); id <= articles; id++ {
		a := corpus.New(id)
		text := strings.ToLower(a.Title + " " + a.Desc + " " + a.Content)
		for _, words := range []string{corpus.FrequentWords, corpus.ApartWords} {
			both := true
			for word := range strings.FieldsSeq(words) {
				if strings.Contains(text, word) {
					in[word]++
				} else {
					both = false
				}
			}
			if both {
				in[words]++
			}
		}
	}
	require.InDelta(t, articles/2, in["guide"], 1)
	require.Greater(t, in["timeouts"], articles/2)
	require.Greater(t, in[corpus.FrequentWords], articles/3)
	require.InDelta(t, articles/8, in["rolling"], articles/32)
	require.InDelta(t, articles/8, in["readiness"], articles/32)
	require.Zero(t, in[corpus.ApartWords])
}
