package requests_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/requests"
)

// rejected returns the reasons for which fields are rejected, by field.
func rejected(check func(reject func(string, errcode.Detail))) map[string]errcode.Reason {
	reasons := map[string]errcode.Reason{}
	check(func(field string, problem errcode.Detail) { reasons[field] = problem.Reason })
	return reasons
}

func TestOneFilter(t *testing.T) {
	for _, c := range []struct {
		order string
		given []string
		want  map[string]errcode.Reason
	}{
		{"", nil, map[string]errcode.Reason{}},
		{"created_at", nil, map[string]errcode.Reason{}},
		{"", []string{"author"}, map[string]errcode.Reason{}},
		{"-id", []string{"author"}, map[string]errcode.Reason{}},
		{"created_at", []string{"author"}, map[string]errcode.Reason{"order_by": errcode.NotAllowed}},
		{"id", []string{"author", "a", "b"}, map[string]errcode.Reason{"a": errcode.NotAllowed, "b": errcode.NotAllowed}},
	} {
		var order *string
		if c.order != "" {
			order = &c.order
		}
		require.Equal(t, c.want, rejected(func(reject func(string, errcode.Detail)) { requests.OneFilter(order, c.given, reject) }), "%+v", c)
	}
}

func TestTimes(t *testing.T) {
	for text, want := range map[string]errcode.Reason{
		"1000-01-01": "", "9999-12-31T23:59:59.999Z": "", "2026-01-02T03:04:05+08:00": "",
		"": errcode.Malformed, "yesterday": errcode.Malformed, "0999-12-31": errcode.OutOfRange, "9999-12-31T23:59:59-01:00": errcode.OutOfRange,
	} {
		reasons := rejected(func(reject func(string, errcode.Detail)) { requests.CheckTime("at", &text, reject) })
		require.Equal(t, want, reasons["at"], text)
	}
	require.Empty(t, rejected(func(reject func(string, errcode.Detail)) { requests.CheckTime("at", nil, reject) }))
	require.Nil(t, requests.StoredTime(nil))
	text := "2026-01-02T03:04:05.6789+08:00"
	require.Equal(t, time.Date(2026, 1, 1, 19, 4, 5, 678_000_000, time.UTC), *requests.StoredTime(&text))
}
