package requests_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/requests"
)

// large lets the route of a request take a large body.
func large(c *gin.Context) *gin.Context {
	requests.NewBodies(newMemory(64<<20), 2<<20, func(*gin.Context) string { return "" }).Large(c)
	return c
}

// Decoding a body allocates no more than is reserved for it, garbage included.
func TestMemoryOfDecoding(t *testing.T) {
	const size = 1 << 20
	fill := func(before, text, after string) string {
		return before + strings.Repeat(text, (size-len(before)-len(after))/len(text)) + after
	}
	binder := newBinder(t)
	for name, body := range map[string]string{
		"plain":                fill(`{"desc":"`, "a", `"}`),
		"few escapes":          fill(`{"desc":"\n`, "a", `"}`),
		"short escapes":        fill(`{"desc":"`, `\n`, `"}`),
		"long escapes":         fill(`{"desc":"`, `\u0001`, `"}`),
		"surrogate pairs":      fill(`{"desc":"`, `\ud83d\ude00`, `"}`),
		"normalized":           fill(`{"desc":"`, "e\u0301", `"}`),
		"growing":              fill(`{"desc":"\u0958`, "a", `"}`),
		"growing by half":      fill(`{"desc":"`, "\u0958bbb", `"}`),
		"growing too much":     fill(`{"desc":"`, "\u0958", `"}`),
		"control characters":   fill(`{"title":"`, "\u007f", `"}`),
		"a long number":        fill(`{"state":1`, "1", `}`),
		"a long unknown name":  fill(`{"`, "a", `":1}`),
		"long unknown names":   `{"` + strings.Join(strings.Split(strings.Repeat("a", 900), ""), `x":1,"`) + fill("", "y", `":1}`),
		"an unknown value":     fill(`{"unknown":["`, "a", `"]}`),
		"spaces":               fill(`{"title":"a"`, " ", `}`),
		"invalid":              fill(`{"desc":"`, "a", ``),
		"nothing but brackets": fill(`{"desc":`, "[", ``),
	} {
		requireAllocated(t, binder, name, asJSON, body)
	}
	for name, body := range map[string]string{
		"plain":               fill("desc=", "a", ""),
		"escapes":             fill("desc=", "%41", ""),
		"spaces":              fill("desc=", "+", ""),
		"lone percent signs":  fill("desc=", "%", ""),
		"growing by half":     fill("desc=", "\u0958bbb", ""),
		"a long number":       fill("state=", "1", ""),
		"a long list":         fill("tag_ids=", "1", ""),
		"a long unknown name": fill("", "a", "=1"),
		"pairs":               fill("", "a=&", ""),
	} {
		requireAllocated(t, binder, name, asForm, body)
	}
}

func requireAllocated(t *testing.T, binder *requests.Binder, name, contentType, body string) {
	t.Helper()
	for _, length := range []int64{int64(len(body)), -1} {
		c := request(contentType, strings.NewReader(body))
		c.Request.ContentLength = length
		large(c)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := binder.Body(c, &post{})
		runtime.ReadMemStats(&after)
		allocated := int64(after.TotalAlloc - before.TotalAlloc) // #nosec G115 -- far below
		reserved := requests.BodyMemory(int64(len(body)))
		if length < 0 {
			reserved = requests.BodyMemory(2 << 20)
		}
		t.Logf("%-22s %-33s length %8d: %4.2f times the body, error: %t", name, contentType, length, float64(allocated)/float64(len(body)), err != nil)
		require.Less(t, allocated, reserved+128<<10, "%s, %s", name, contentType)
	}
}
