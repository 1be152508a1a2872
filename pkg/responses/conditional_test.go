package responses_test

import (
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
	require.Empty(t, answer("en", func(c *gin.Context) { responses.Plain(c, responses.Empty{}) }).Header().Get("ETag"))
}

func TestIfMatchWithoutADemandIsNoCondition(t *testing.T) {
	answer("en", func(c *gin.Context) {
		require.Nil(t, responses.IfMatch(c, show))
		c.Request.Header.Set("If-Match", "*")
		require.Nil(t, responses.IfMatch(c, show))
		c.Request.Header.Set("If-Match", `*, "x"`)
		require.Error(t, responses.IfMatch(c, show)(thing{"a"}), "that is no star, and no tag of it")
	})
}
