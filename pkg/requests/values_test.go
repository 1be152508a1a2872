package requests_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/requests"
)

func TestParseIDs(t *testing.T) {
	for text, want := range map[string][]uint64{
		"7": {7}, "3,1,2,1": {1, 2, 3}, "1.0,20e-1": {1, 2}, "18446744073709551615": {18446744073709551615}, "1,1,1,1,1": {1},
	} {
		ids, _, ok := requests.ParseIDs("ids", text, 3)
		require.True(t, ok, text)
		require.Equal(t, want, ids)
	}
	for text, want := range map[string]struct {
		field  string
		reason errcode.Reason
	}{
		"": {"ids", errcode.InvalidType}, ",": {"ids[0]", errcode.InvalidType}, "1,": {"ids[1]", errcode.InvalidType}, "0": {"ids", errcode.OutOfRange},
		"1,00": {"ids[1]", errcode.InvalidType}, "-1": {"ids", errcode.InvalidType}, "1, 2": {"ids[1]", errcode.InvalidType}, "+1": {"ids", errcode.InvalidType},
		"18446744073709551616": {"ids", errcode.OutOfRange}, "1e99999999999": {"ids", errcode.OutOfRange}, "0x1": {"ids", errcode.InvalidType},
		"1\x00": {"ids", errcode.InvalidType}, "１": {"ids", errcode.InvalidType}, "1,2,3,4": {"ids", errcode.TooLong},
	} {
		_, problem, ok := requests.ParseIDs("ids", text, 3)
		require.False(t, ok, "%q", text)
		require.Equal(t, want.field, problem.Field, "%q", text)
		require.Equal(t, want.reason, problem.Reason, "%q", text)
	}
}

func TestParseTime(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2026-01-02":                          time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC),
		"2026-01-02T03:04:05Z":                time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		"2026-01-02T03:04:05.6789+08:00":      time.Date(2026, 1, 1, 19, 4, 5, 678_900_000, time.UTC),
		"2026-01-02T03:04:05 08:00":           time.Date(2026, 1, 1, 19, 4, 5, 0, time.UTC),
		"2024-02-29":                          time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC),
		"0000-01-01T00:00:00+23:59":           time.Date(-1, 12, 31, 0, 1, 0, 0, time.UTC),
		"9999-12-31T23:59:59.999999999-23:59": time.Date(10000, 1, 1, 23, 58, 59, 999_999_999, time.UTC),
	} {
		at, _, ok := requests.ParseTime("at", text)
		require.True(t, ok, text)
		require.True(t, want.Equal(at), "%s is %s", text, at)
	}
	for _, text := range []string{"", " ", "now", "2026", "2026-1-2", "2023-02-29", "2026-01-02T03:04:05", "2026-01-02T24:00:00Z", "2026-01-02 03:04:05", "2026-01-02 08:00", "1767225600", "-2026-01-02", "2026-01-02\x00", "２026-01-02"} {
		_, problem, ok := requests.ParseTime("at", text)
		require.False(t, ok, "%q", text)
		require.Equal(t, errcode.Malformed, problem.Reason)
	}
}

func TestParseNames(t *testing.T) {
	allowed := []string{"id", "title", "desc"}
	names, _, ok := requests.ParseNames("fields", "desc,id,desc", allowed)
	require.True(t, ok)
	require.Equal(t, []string{"id", "desc"}, names)
	for _, text := range []string{"", ",", "id,", "Id", "id,title,x", "id;title", "*", "id\x00"} {
		_, problem, ok := requests.ParseNames("fields", text, allowed)
		require.False(t, ok, "%q", text)
		require.Equal(t, errcode.NotAllowed, problem.Reason)
		require.Contains(t, problem.EN, "; allowed are: id, title, desc")
	}
}
