package responses_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
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
	object := func(c *gin.Context) { responses.Object(c, tag7, thing{}, nil) }
	require.Equal(t, `"7._zJNxzqH.en"`, record("en", object).Header().Get("ETag"))
	created := func(c *gin.Context) { responses.Created(c, "/things/1", tag7, thing{}, false, nil) }
	require.Equal(t, `"7._zJNxzqH.zh"`, record("zh", created).Header().Get("ETag"))
	page := responses.PageETag(responses.ShapeOf[thing](), responses.Pager{Page: 1}, []string{"1 7"})
	list := func(c *gin.Context) {
		responses.NewEncoder[thing]().List(c, page, []thing{{Name: "a"}}, responses.Pager{Page: 1}, nil)
	}
	require.Regexp(t, `^W/"[A-Za-z0-9_-]{16}\._zJNxzqH\.en"$`, record("en", list).Header().Get("ETag"))
	for _, other := range []responses.ETag{
		responses.PageETag(responses.ShapeOf[thing](), responses.Pager{Page: 2}, []string{"1 7"}),
		responses.PageETag(responses.ShapeOf[thing](), responses.Pager{Page: 1}, []string{"1 8"}),
		responses.PageETag(responses.ShapeOf[thing](), responses.Pager{Page: 1}, []string{"1 7", ""}),
	} {
		require.NotEqual(t, page, other)
	}
	require.NotEqual(t, record("zh", list).Header().Get("ETag"), record("en", list).Header().Get("ETag"))
	require.Empty(t, record("en", func(c *gin.Context) { responses.OK(c, responses.Empty{}, nil) }).Header().Get("ETag"))
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
	get := record("en", func(c *gin.Context) { responses.Object(c, tag7, thing{}, nil) })
	head := record("en", func(c *gin.Context) {
		c.Request.Method = http.MethodHead
		responses.Object(c, tag7, thing{}, nil)
	})
	require.Equal(t, http.StatusOK, head.Code)
	require.Empty(t, head.Body.Bytes())
	require.Equal(t, get.Header(), head.Header())
	unchanged := record("en", func(c *gin.Context) {
		c.Request.Header.Set("If-None-Match", get.Header().Get("ETag"))
		responses.Object(c, tag7, thing{}, nil)
	})
	require.Equal(t, http.StatusNotModified, unchanged.Code)
	require.Empty(t, unchanged.Body.Bytes())
}

// A read recognises its entity tag in the forms that compressing proxies make of it.
func TestUnchangedBehindProxies(t *testing.T) {
	page := responses.PageETag(responses.ShapeOf[thing](), responses.Pager{}, []string{"1 7"})
	for _, handle := range []func(*gin.Context){
		func(c *gin.Context) { responses.Object(c, tag7, thing{}, nil) },
		func(c *gin.Context) { responses.NewEncoder[thing]().List(c, page, []thing{}, responses.Pager{}, nil) },
	} {
		tag := record("en", handle).Header().Get("ETag")
		bare := strings.TrimPrefix(tag, "W/")
		suffixed := strings.TrimSuffix(bare, `"`) + `-gzip"`
		for header, status := range map[string]int{
			tag: 304, bare: 304, "W/" + bare: 304, suffixed: 304, "W/" + suffixed: 304, `"x", ` + suffixed: 304, "*": 304,
			"x": 200, strings.Trim(bare, `"`): 200, strings.Replace(bare, ".en", ".zh", 1): 200, suffixed + "x": 200,
		} {
			got := record("en", func(c *gin.Context) {
				c.Request.Header.Set("If-None-Match", header)
				handle(c)
			})
			require.Equal(t, status, got.Code, header)
			require.Equal(t, tag, got.Header().Get("ETag"))
		}
	}
}

func TestPrecondition(t *testing.T) {
	tag := record("en", func(c *gin.Context) { responses.Object(c, tag7, thing{}, nil) }).Header().Get("ETag")
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
		for _, same := range []string{`"7._zJNxzqH.zh"`, `"7._zJNxzqH.zh_Hant_TW"`, `"7.another1.en"`, "W/" + tag, `"8.x.en", W/` + tag,
			`"7._zJNxzqH.zh-gzip"`, `W/"7._zJNxzqH.zh-gzip"`, `"7._zJNxzqH.zh--gzip"`, `"7._zJNxzqH.zh;gzip"`, `"7._zJNxzqH.zh-br-gzip"`} {
			c.Request.Header.Set("If-Match", same)
			require.NoError(t, responses.Precondition(c)("7"), same)
		}
		for _, other := range []string{`"7.x.fr"`, `"7.x.zhx"`, `"7.x."`, `"7.x.en.en"`, `"7"`, `7.x.en`, `"7.x.en`, `w/"7.x.en"`, `"7.x.en-other"`, `"7-gzip"`, `W/7.x.en`, `"8.x.en"`, `".x.en"`, `""`, ""} {
			c.Request.Header.Set("If-Match", other)
			require.Error(t, responses.Precondition(c)("7"), other)
		}
		for _, bare := range []string{"7.x.en", `"8.x.en", 7.x.en`, `W/7.x.en`, `7.x.en"`, `"`, "<\x00>"} {
			c.Request.Header.Set("If-Match", bare)
			var coded *errcode.Error
			require.ErrorAs(t, responses.Precondition(c)("7"), &coded, bare)
			require.Equal(t, errcode.PreconditionFailed, coded.Code)
			require.Contains(t, coded.Details[0].EN, "must be in double quotes", bare)
			require.NotContains(t, coded.Details[0].EN, "\x00")
		}
		// Both must hold.
		c.Request.Header.Set("If-Match", tag)
		c.Request.Header.Set("If-None-Match", "*")
		require.Error(t, responses.Precondition(c)("7"))
	})
}
