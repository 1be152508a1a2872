package responses_test

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/coalesce"
	"github.com/achilles-blog/achilles/pkg/responses"
)

// encoded returns the data of a response.
func encoded(t *testing.T, data any) string {
	t.Helper()
	body := record("en", func(c *gin.Context) { responses.OK(c, data, nil) }).Body.String()
	inner, found := strings.CutPrefix(body, `{"code":0,"msg":"success","data":`)
	require.True(t, found, body)
	return strings.TrimSuffix(inner, "}")
}

func TestEncodingIsThatOfTheStandardLibrary(t *testing.T) {
	number := 7
	type inner struct {
		A *int `json:"a,omitempty"`
		B *int `json:"b"`
	}
	for _, value := range []any{
		nil, 0, -1, math.MaxInt64, uint64(math.MaxUint64), 1.5, 1e30, true, "", "text", "<&>", `"quoted\`, "\x00\x1f\x7f\b\n\u2028\u2029",
		"broken \xff\xc3 text", []int{}, []int(nil), []string{"a", "b"}, [2]bool{true}, []byte("bytes"), map[string]any{"b": 1, "a": "<"},
		struct{}{}, inner{}, &inner{A: &number, B: &number}, (*inner)(nil), json.RawMessage(`{"x":1}`),
		struct {
			Omitted string `json:"omitted,omitempty"`
			Hidden  string `json:"-"`
			private string
			Plain   any
			List    []inner `json:"list"`
		}{private: "p", Hidden: "h", Plain: inner{}, List: []inner{{}, {A: &number}}},
		strings.Repeat("x", 8<<10), strings.Repeat("字", 20_000), strings.Repeat("x😀", 10_000), strings.Repeat("\x01", 20_000),
		strings.Repeat("a", 8<<10-1) + "é", strings.Repeat("\x80", 9<<10),
	} {
		var want bytes.Buffer
		encoder := json.NewEncoder(&want)
		encoder.SetEscapeHTML(false)
		require.NoError(t, encoder.Encode(value))
		require.Equal(t, strings.TrimSuffix(want.String(), "\n"), encoded(t, value), "%.100v", value)
	}
}

// An Encoder makes the same bodies as all other responses have.
func TestEncoder(t *testing.T) {
	type node struct {
		Name     string
		At       time.Time `json:"at"`
		Children []node    `json:"children,omitempty"`
		Any      any       `json:"any"`
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 670e6, time.UTC)
	object := node{strings.Repeat("\"字\n", 10_000), at, []node{{At: at, Any: []node{{At: at}}}, {}}, map[string]int{"a": 1}}
	encoder := responses.NewEncoder[node]()
	for _, language := range []string{"en", "zh"} {
		want := record(language, func(c *gin.Context) { responses.OK(c, object, nil) })
		got := record(language, func(c *gin.Context) {
			var encodings coalesce.Memo[string, []byte]
			body := responses.Encode(c, &encodings, encoder, 10, 1<<20, func() node { return object })
			same := responses.Encode(c, &encodings, encoder, 10, 1<<20, func() node { panic("must not be called again") })
			require.Equal(t, body, same)
			responses.Encoded(c, responses.ETag{Version: "1"}, body, nil)
		})
		require.Equal(t, want.Body.String(), got.Body.String())
		require.Equal(t, want.Header().Get("Content-Type"), got.Header().Get("Content-Type"))
		require.Equal(t, strconv.Itoa(want.Body.Len()), got.Header().Get("Content-Length"))
		require.NotEmpty(t, got.Header().Get("ETag"))
	}
}

// A page that is encoded for several is that which List writes.
func TestSharedList(t *testing.T) {
	encoder, tag := responses.NewEncoder[string](), responses.ETag{Version: "1"}
	pager := responses.Pager{Page: 2, PageSize: 3, TotalRows: 5, TotalRelation: responses.Exact}
	memory, budget := newMemory(1 << 20)
	for _, language := range []string{"en", "zh"} {
		for _, list := range [][]string{{"a", "\"字"}, {}} {
			want := record(language, func(c *gin.Context) { encoder.List(c, tag, list, pager, nil) })
			answer := func(encodings *coalesce.Memo[string, []byte], limit int64, list func() []string) {
				got := record(language, func(c *gin.Context) {
					reserved, err := memory.Reserve(c, 1000)
					require.NoError(t, err)
					defer reserved.Release()
					encoder.SharedList(c, tag, encodings, 10, limit, list, pager, reserved)
				})
				require.Equal(t, want.Body.String(), got.Body.String())
				require.Equal(t, want.Header().Get("ETag"), got.Header().Get("ETag"))
			}
			again := func() []byte { panic("must not be called again") }
			var kept, tooLong coalesce.Memo[string, []byte]
			answer(&kept, 1<<20, func() []string { return list })
			answer(&kept, 1<<20, func() []string { panic("must not be called again") })
			require.Equal(t, want.Body.Bytes(), kept.Get(language, again))
			answer(&tooLong, 20, func() []string { return list })
			require.Nil(t, tooLong.Get(language, again))
		}
	}
	require.Zero(t, budget.Reserved())
}

// An encoding that is longer than the limit is not kept.
func TestLimitOfEncodings(t *testing.T) {
	encoder := responses.NewEncoder[string]()
	record("en", func(c *gin.Context) {
		for text, kept := range map[string]bool{strings.Repeat("a", 20_000): true, strings.Repeat("\x01", 20_000): false, strings.Repeat("a", 40_000): false} {
			var encodings coalesce.Memo[string, []byte]
			body := responses.Encode(c, &encodings, encoder, 10, 32<<10, func() string { return text })
			require.Equal(t, kept, body != nil, "%.10q", text)
		}
	})
}

func TestTimesHaveThreeFractionalDigits(t *testing.T) {
	for nanoseconds, want := range map[int]string{
		0: "2026-01-02T03:04:05.000Z", 100e6: "2026-01-02T03:04:05.100Z", 120e6: "2026-01-02T03:04:05.120Z", 123e6: "2026-01-02T03:04:05.123Z",
	} {
		at := time.Date(2026, 1, 2, 3, 4, 5, nanoseconds, time.UTC)
		require.Equal(t, `"`+want+`"`, encoded(t, at))
		require.Equal(t, `{"at":"`+want+`"}`, encoded(t, struct {
			At *time.Time `json:"at"`
		}{&at}))
	}
}

// largest is a http.ResponseWriter that remembers the largest piece.
type largest struct {
	*httptest.ResponseRecorder
	piece int
}

// Write implements http.ResponseWriter.
func (l *largest) Write(piece []byte) (int, error) {
	l.piece = max(l.piece, len(piece))
	return l.ResponseRecorder.Write(piece)
}

// A response is written in pieces, whatever its data is, so memory does not depend on
// the size of the data.
func TestResponsesAreWrittenInPieces(t *testing.T) {
	for _, text := range []string{"<", "x", "\x01", "字"} {
		content := strings.Repeat(text, 1<<20)
		writer := &largest{ResponseRecorder: httptest.NewRecorder()}
		c := gin.CreateTestContextOnly(writer, gin.New())
		c.Request = httptest.NewRequest(http.MethodGet, "/", nil)
		responses.OK(c, content, nil)
		var got responses.Envelope[string]
		require.NoError(t, json.Unmarshal(writer.Body.Bytes(), &got))
		require.Equal(t, content, got.Data)
		require.LessOrEqual(t, writer.piece, 48<<10, "%q", text)
	}
}
