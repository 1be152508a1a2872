package requests_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/batch"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/requests"
)

type posts struct {
	Atomic *bool  `json:"atomic"`
	Posts  []post `json:"posts" validate:"required"`
}

func TestBatch(t *testing.T) {
	var decoded posts
	c := request(asJSON, strings.NewReader("\ufeff {\"atomic\":true, \"posts\":[{\"title\":\" a \"},{\"title\":\"too long\",\"state\":2},\"b\",{\"title\":\"b\",\"tags\":[{\"id\":7}]}]}"))
	invalid, err := newBinder(t).Batch(c, &decoded)
	require.NoError(t, err)
	require.Equal(t, posts{pointer(true), []post{{Title: pointer("a")}, {Title: pointer("too long"), State: pointer(2)}, {}, {Title: pointer("b"), Tags: &[]uint64{7}}}}, decoded)
	require.Len(t, invalid, 2)
	require.Equal(t, []int{1, 2}, []int{invalid[0].Index, invalid[1].Index})
	var coded *errcode.Error
	require.ErrorAs(t, batch.Named("posts", invalid), &coded)
	require.Equal(t, errcode.InvalidParams, coded.Code)
	var fields []string
	for _, d := range coded.Details {
		fields = append(fields, d.Field)
	}
	require.Equal(t, []string{"posts[1].title", "posts[1].state", "posts[2]"}, fields)
}

// Decoding a batch allocates no more than is reserved for it, and what its items take at
// most, garbage included.
func TestMemoryOfDecodingBatches(t *testing.T) {
	const size, ofItem = 1 << 20, 128 << 10
	binder := newBinder(t)
	fill := func(before, text, after string) string {
		return before + strings.Repeat(text, (size-len(before)-len(after))/len(text)) + after
	}
	repeated := func(item string) string {
		return `{"posts":[` + strings.Repeat(item+",", batch.MaxItems-1) + item + `]}`
	}
	for name, body := range map[string]string{
		"empty items":     repeated(`{}`),
		"no objects":      repeated(`7`),
		"invalid items":   repeated(`{"title":"","state":7,"cover_url":"x","tag_ids":[0,0],"tags":[{"id":0},{"id":0}],"titel":1}`),
		"zeros":           repeated(`{"title":"a","tags":[` + strings.Repeat(`{"id":0},`, 19) + `{"id":0}]}`),
		"unknown names":   repeated(`{"title":"a","` + strings.Join(strings.Split(strings.Repeat("q", 90), ""), `x":1,"`) + `":1}`),
		"a large item":    fill(`{"posts":[{"title":"a","desc":"`, "a", `"}]}`),
		"growing by half": fill(`{"posts":[{"title":"a","desc":"`, "\u0958bbb", `"}]}`),
		"large items":     repeated(`{"title":"a","desc":"` + strings.Repeat("\\u0001", size/700) + `"}`),
	} {
		c := request(asJSON, strings.NewReader(body))
		c.Request.ContentLength = int64(len(body))
		large(c)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := binder.Batch(c, &posts{})
		runtime.ReadMemStats(&after)
		allocated := int64(after.TotalAlloc - before.TotalAlloc) // #nosec G115 -- far below
		t.Logf("%-16s length %8d: %8d bytes, error: %t", name, len(body), allocated, err != nil)
		require.Less(t, allocated, requests.BodyMemory(int64(len(body)))+batch.MaxItems*ofItem, name)
	}
}
