package responses_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/responses"
)

type thing struct {
	Name string    `json:"name"`
	Made time.Time `json:"made"`
	Tags []struct {
		ID uint64 `json:"id"`
	} `json:"tags"`
}

var tag7 = responses.ETag{Version: "7", Shape: responses.ShapeOf[thing]()}

// An ETag consists of version, shape and language, and is the same in every process.
func TestETag(t *testing.T) {
	object := func(c *gin.Context) { responses.Object(c, tag7, thing{}) }
	require.Equal(t, `"7._zJNxzqH.en"`, record("en", object).Header().Get("ETag"))
	created := func(c *gin.Context) { responses.Created(c, "/things/1", tag7, thing{}, false) }
	require.Equal(t, `"7._zJNxzqH.zh"`, record("zh", created).Header().Get("ETag"))
	list := func(c *gin.Context) { responses.List(c, []thing{{Name: "a"}}, responses.Pager{Page: 1}) }
	require.Regexp(t, `^W/"[A-Za-z0-9_-]{16}"$`, record("en", list).Header().Get("ETag"))
	require.NotEqual(t, record("zh", list).Header().Get("ETag"), record("en", list).Header().Get("ETag"))
	require.Empty(t, record("en", func(c *gin.Context) { responses.OK(c, responses.Empty{}) }).Header().Get("ETag"))
}

func TestShapes(t *testing.T) {
	shapes := []responses.Shape{
		responses.ShapeOf[thing](),
		responses.ShapeOf[struct{}](),
		responses.ShapeOf[struct {
			A int `json:"a"`
		}](),
		responses.ShapeOf[struct {
			A int `json:"b"`
		}](),
		responses.ShapeOf[struct {
			A int `json:"a,omitempty"`
		}](),
		responses.ShapeOf[struct {
			A string `json:"a"`
		}](),
		responses.ShapeOf[struct {
			A []struct{ B int } `json:"a"`
		}](),
		responses.ShapeOf[struct {
			A []struct{ B, C int } `json:"a"`
		}](),
	}
	distinct := map[responses.Shape]bool{}
	for _, shape := range shapes {
		distinct[shape] = true
	}
	require.Len(t, distinct, len(shapes))
}

// A HEAD and a 304 have the header fields of the GET, and no body.
func TestObjectWithoutBody(t *testing.T) {
	get := record("en", func(c *gin.Context) { responses.Object(c, tag7, thing{}) })
	head := record("en", func(c *gin.Context) {
		c.Request.Method = http.MethodHead
		responses.Object(c, tag7, thing{})
	})
	require.Equal(t, http.StatusOK, head.Code)
	require.Empty(t, head.Body.Bytes())
	require.Equal(t, get.Header(), head.Header())
	unchanged := record("en", func(c *gin.Context) {
		c.Request.Header.Set("If-None-Match", get.Header().Get("ETag"))
		responses.Object(c, tag7, thing{})
	})
	require.Equal(t, http.StatusNotModified, unchanged.Code)
	require.Empty(t, unchanged.Body.Bytes())
}

func TestPrecondition(t *testing.T) {
	tag := record("en", func(c *gin.Context) { responses.Object(c, tag7, thing{}) }).Header().Get("ETag")
	record("en", func(c *gin.Context) {
		require.Nil(t, responses.Precondition(c))
		c.Request.Header.Set("If-Match", "*")
		require.Nil(t, responses.Precondition(c))
		c.Request.Header.Set("If-Match", `*, "x"`)
		require.Error(t, responses.Precondition(c)("7"), "a star in a list matches nothing")
		c.Request.Header.Del("If-Match")
		for tags, changed := range map[string]bool{
			"*": false, tag: false, "W/" + tag: false, `"other", ` + tag: false, `"other"`: true, `"7"`: true,
			strings.Replace(tag, "7", "77", 1): true,
		} {
			c.Request.Header.Set("If-None-Match", tags)
			require.Equal(t, changed, responses.Precondition(c)("7") == nil, tags)
		}
		c.Request.Header.Del("If-None-Match")
		for _, same := range []string{`"7._zJNxzqH.zh"`, `"7._zJNxzqH.zh_Hant_TW"`, `"7.another1.en"`} {
			c.Request.Header.Set("If-Match", same)
			require.NoError(t, responses.Precondition(c)("7"), same)
		}
		for _, other := range []string{`"7.x.fr"`, `"7.x.zhx"`, `"7.x."`, `"7.x.en.en"`, `"7"`, `7.x.en`, `"7.x.en`, `W/"7.x.en"`, `"8.x.en"`, `".x.en"`, `""`, ""} {
			c.Request.Header.Set("If-Match", other)
			require.Error(t, responses.Precondition(c)("7"), other)
		}
		// Both must hold.
		c.Request.Header.Set("If-Match", tag)
		c.Request.Header.Set("If-None-Match", "*")
		require.Error(t, responses.Precondition(c)("7"))
	})
}
