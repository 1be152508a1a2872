package cursor_test

import (
	"encoding/base64"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/cursor"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

func list() cursor.List {
	return cursor.List{Route: "/api/v1/tags", Order: "-name", Filters: "state=1"}
}

func TestCursor(t *testing.T) {
	for _, want := range []cursor.Position{
		{ID: 1},
		{ID: math.MaxInt64},
		{Key: "Go 语言", ID: 7},
		{Key: "a\x00b\"%_/+&=", ID: 7},
		{Key: strings.Repeat("🦄", 100), ID: 1 << 40},
		{Key: strings.Repeat("k", cursor.MaxKeyLength), ID: 1},
	} {
		text := list().New(want)
		require.Regexp(t, `^[A-Za-z0-9_-]+$`, text)
		got, err := list().Parse(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.True(t, got.Valid())
	}
	require.False(t, cursor.Position{}.Valid())
}

func requireInvalid(t *testing.T, l cursor.List, text string) {
	t.Helper()
	got, err := l.Parse(text)
	var coded *errcode.Error
	require.ErrorAs(t, err, &coded, "%q", text)
	require.Equal(t, errcode.InvalidParams, coded.Code)
	require.Equal(t, "after", coded.Details[0].Field)
	require.Zero(t, got)
}

// A cursor holds for its list only, and no other text is a cursor.
func TestInvalidCursors(t *testing.T) {
	valid := list().New(cursor.Position{Key: "a", ID: 7})
	for _, other := range []cursor.List{
		{Route: "/api/v1/articles", Order: "-name", Filters: "state=1"},
		{Route: "/api/v1/tags", Order: "name", Filters: "state=1"},
		{Route: "/api/v1/tags", Order: "-name", Filters: "state=0"},
		{Route: "/api/v1/tags", Order: "-name"},
		{Route: "/api/v1/tags", Order: "-name state=1"},
		{},
	} {
		requireInvalid(t, other, valid)
	}
	for i := range valid { // each letter counts
		for _, letter := range []string{"", "A", "_", "=", "\n", "é", "\x00"} {
			if damaged := valid[:i] + letter + valid[i+1:]; damaged != valid {
				requireInvalid(t, list(), damaged)
			}
		}
		requireInvalid(t, list(), valid[:i])
		requireInvalid(t, list(), valid[:i]+"\r\n"+valid[i:]) // which base64 ignores
	}
	for _, position := range []cursor.Position{
		{Key: "a"}, {ID: math.MaxInt64 + 1}, {ID: math.MaxUint64}, {Key: "\xff", ID: 1}, {Key: strings.Repeat("k", cursor.MaxKeyLength+1), ID: 1},
	} {
		requireInvalid(t, list(), list().New(position))
	}
	for _, text := range []string{"", "1", "0", "-1", valid + valid, strings.Repeat("A", 1<<20), base64.StdEncoding.EncodeToString(make([]byte, 64))} {
		requireInvalid(t, list(), text)
	}
}

func TestTimeKeys(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 670_000_000, time.FixedZone("", 3600))
	key := cursor.TimeKey(at)
	require.Equal(t, "2026-01-02T02:04:05.670Z", key)
	got, err := cursor.Position{Key: key, ID: 1}.Time()
	require.NoError(t, err)
	require.Equal(t, at.UTC(), got)
	for _, key := range []string{
		"", "x", "2026-01-02", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.67Z", "2026-01-02T03:04:05.6700Z", "2026-13-02T03:04:05.670Z",
		"2026-01-02T03:04:05,670Z", "12026-01-02T03:04:05.670Z", "2026-01-02T03:04:05.670+00:00", "2026-01-02T3:04:05.670Z", "' OR 1=1 --",
		"0000-12-31T23:59:59.999Z",
	} {
		_, err := cursor.Position{Key: key, ID: 1}.Time()
		require.Equal(t, cursor.Invalid(), err, key)
	}
}

// The cursors of a release are accepted by the next one, which runs beside it during a
// rollout.
func TestCursorsStayTheSame(t *testing.T) {
	require.Equal(t, "AZOLhn9s4b_VAAAAAAAAAAdH", list().New(cursor.Position{Key: "G", ID: 7}))
}

func FuzzParse(f *testing.F) {
	f.Add(list().New(cursor.Position{Key: "a", ID: 7}))
	f.Add("\xff")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := list().Parse(text); err == nil && list().New(got) != text {
			t.Fatalf("Parse(%q) = %+v, whose cursor is %q", text, got, list().New(got))
		}
	})
}
