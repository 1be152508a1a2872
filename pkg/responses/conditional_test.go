package responses_test

import (
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/responses"
)

type thing struct{ Name string }

func show(t thing) thing { return t }

// The same object has the same ETag in every process and release, because it is
// made of nothing else.
func TestETagIsStable(t *testing.T) {
	object := func(c *gin.Context) { responses.Object(c, thing{"a"}) }
	require.Equal(t, `"iFiWh7BZx2l89SFC.en"`, answer("en", object).Header().Get("ETag"))
	list := func(c *gin.Context) { responses.List(c, []thing{{"a"}}, responses.Pager{Page: 1}) }
	require.Regexp(t, `^W/"[A-Za-z0-9_-]{16}"$`, answer("en", list).Header().Get("ETag"))
	require.NotEqual(t, answer("zh", list).Header().Get("ETag"), answer("en", list).Header().Get("ETag"))
	require.Empty(t, answer("en", func(c *gin.Context) { responses.OK(c, responses.Empty{}) }).Header().Get("ETag"))
}

func TestPrecondition(t *testing.T) {
	tag := answer("en", func(c *gin.Context) { responses.Object(c, thing{"a"}) }).Header().Get("ETag")
	answer("en", func(c *gin.Context) {
		require.Nil(t, responses.Precondition(c, show))
		c.Request.Header.Set("If-Match", "*")
		require.Nil(t, responses.Precondition(c, show))
		c.Request.Header.Set("If-Match", `*, "x"`)
		require.Error(t, responses.Precondition(c, show)(thing{"a"}), "that is no star, and no tag of it")
		c.Request.Header.Del("If-Match")
		for tags, changed := range map[string]bool{
			"*": false, tag: false, "W/" + tag: false, `"other", ` + tag: false, `"other"`: true, `"` + strings.Trim(tag, `"`) + `x"`: true,
		} {
			c.Request.Header.Set("If-None-Match", tags)
			require.Equal(t, changed, responses.Precondition(c, show)(thing{"a"}) == nil, tags)
		}
		c.Request.Header.Del("If-None-Match")
		for _, language := range []string{"zh", "en", "zh_Hant_TW"} {
			c.Request.Header.Set("If-Match", strings.Replace(tag, ".en", "."+language, 1))
			require.NoError(t, responses.Precondition(c, show)(thing{"a"}), language)
		}
		for _, end := range []string{".fr", ".zh-gzip", ".zhx", ".", ""} {
			c.Request.Header.Set("If-Match", strings.Replace(tag, ".en", end, 1))
			require.Error(t, responses.Precondition(c, show)(thing{"a"}), end)
		}
		// Both have to hold.
		c.Request.Header.Set("If-Match", tag)
		c.Request.Header.Set("If-None-Match", "*")
		require.Error(t, responses.Precondition(c, show)(thing{"a"}))
	})
}
