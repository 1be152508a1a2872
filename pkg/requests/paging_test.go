package requests_test

import (
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/cursor"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/requests"
)

func TestPaging(t *testing.T) {
	paging := requests.Paging{DefaultSize: 10, MaxSize: 100, MaxOffset: 10_000}
	cases := map[string]struct {
		page, size string
		want       requests.Page
		offset     int
	}{
		"absent":         {"", "", requests.Page{Number: 1, Size: 10}, 0},
		"second page":    {"2", "20", requests.Page{Number: 2, Size: 20}, 20},
		"not numbers":    {"x", "y", requests.Page{Number: 1, Size: 10}, 0},
		"zero":           {"0", "0", requests.Page{Number: 1, Size: 10}, 0},
		"negative":       {"-3", "-1", requests.Page{Number: 1, Size: 10}, 0},
		"size too large": {"1", "1000", requests.Page{Number: 1, Size: 100}, 0},
		"last page":      {"1001", "", requests.Page{Number: 1001, Size: 10}, 10_000},
		"below int64":    {"-99999999999999999999", "1", requests.Page{Number: 1, Size: 1}, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := paging.Parse(c.page, c.size)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
			require.Equal(t, c.offset, got.Offset())
		})
	}
}

func TestMaxOffset(t *testing.T) {
	paging := requests.Paging{DefaultSize: 10, MaxSize: 100, MaxOffset: 10_000}
	for size, pages := range map[string][]string{
		"10": {"1002"}, "100": {"102", "9223372036854775807", "92233720368547759"}, "3": {"3335", "99999999999999999999"},
	} {
		for _, page := range pages {
			_, err := paging.Parse(page, size)
			var coded *errcode.Error
			require.ErrorAs(t, err, &coded, "%s %s", page, size)
			require.Equal(t, errcode.InvalidParams, coded.Code)
			require.Equal(t, "page", coded.Details[0].Field)
		}
	}
	_, err := paging.Parse("3334", "3")
	require.NoError(t, err)
}

func FuzzPaging(f *testing.F) {
	f.Add("1", "10")
	f.Add("9223372036854775807", "100")
	paging := requests.Paging{DefaultSize: 10, MaxSize: 100, MaxOffset: 10_000}
	f.Fuzz(func(t *testing.T, page, size string) {
		got, err := paging.Parse(page, size)
		if err != nil {
			return
		}
		if got.Number < 1 || got.Size < 1 || got.Size > 100 || got.Offset() < 0 || got.Offset() > 10_000 {
			t.Fatalf("Parse(%q, %q) = %+v with offset %d", page, size, got, got.Offset())
		}
	})
}

func TestParseID(t *testing.T) {
	cases := map[string]struct {
		id   uint64
		code errcode.Code
	}{
		"1":                    {1, errcode.Success},
		"4294967298":           {4294967298, errcode.Success},
		"9223372036854775807":  {math.MaxInt64, errcode.Success},
		"9223372036854775808":  {0, errcode.TagNotFound},
		"99999999999999999999": {0, errcode.TagNotFound},
		"0":                    {0, errcode.InvalidParams},
		"01":                   {0, errcode.InvalidParams},
		"-1":                   {0, errcode.InvalidParams},
		"+1":                   {0, errcode.InvalidParams},
		"1.0":                  {0, errcode.InvalidParams},
		"0x1":                  {0, errcode.InvalidParams},
		"abc":                  {0, errcode.InvalidParams},
		"":                     {0, errcode.InvalidParams},
		"１":                    {0, errcode.InvalidParams},
	}
	for text, want := range cases {
		t.Run(text, func(t *testing.T) {
			id, err := requests.ParseID(text, errcode.TagNotFound)
			require.Equal(t, want.id, id)
			if want.code == errcode.Success {
				require.NoError(t, err)
				return
			}
			var coded *errcode.Error
			require.ErrorAs(t, err, &coded)
			require.Equal(t, want.code, coded.Code)
		})
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("1")
	f.Add("18446744073709551616")
	f.Add("\xff")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := requests.ParseID(text, errcode.TagNotFound)
		var coded *errcode.Error
		if err == nil && (id < 1 || id > math.MaxInt64) || err != nil && !errors.As(err, &coded) {
			t.Fatalf("ParseID(%q) = %d, %v", text, id, err)
		}
	})
}

func TestParseAfter(t *testing.T) {
	paging := requests.Paging{DefaultSize: 10, MaxSize: 100, MaxOffset: 10_000}
	list := cursor.List{Route: "/api/v1/tags", Order: "id"}
	position := cursor.Position{Key: "a", ID: 7}
	after := list.New(position)
	for size, want := range map[string]int{"": 10, "7": 7, "x": 10, "1000": 100} {
		got, err := paging.ParseAfter("", size, &after, list)
		require.NoError(t, err)
		require.Equal(t, requests.Page{Size: want, After: position}, got)
		require.Zero(t, got.Offset())
	}
	got, err := paging.ParseAfter("2", "20", nil, list)
	require.NoError(t, err)
	require.Equal(t, requests.Page{Number: 2, Size: 20}, got)
	for _, c := range []struct{ page, after, field string }{
		{"1", after, "page"}, {"x", after, "page"}, {"", "", "after"}, {"", after + "A", "after"}, {"", "1", "after"},
	} {
		_, err := paging.ParseAfter(c.page, "", &c.after, list)
		var coded *errcode.Error
		require.ErrorAs(t, err, &coded, c)
		require.Equal(t, errcode.InvalidParams, coded.Code)
		require.Equal(t, c.field, coded.Details[0].Field)
	}
}

func TestFilters(t *testing.T) {
	type filter struct {
		Zone   *string  `json:"zone"`
		Name   *string  `json:"name"`
		State  *int     `json:"state"`
		TagIDs []uint64 `json:"tag_ids"`
		Page   string   `json:"page"`
		After  *string  `json:"after"`
	}
	for want, given := range map[string]filter{
		"":                              {},
		"name=":                         {Name: pointer("")},
		"state=0":                       {State: pointer(0), Page: "2", After: pointer("x")},
		"name=a%26state%3D1":            {Name: pointer("a&state=1")},
		"name=b&state=1&zone=%E5%AD%97": {Zone: pointer("字"), Name: pointer("b"), State: pointer(1)},
		"tag_ids=%5B1+2%5D":             {TagIDs: []uint64{1, 2}},
	} {
		require.Equal(t, want, requests.Filters(given, "page", "after"))
		require.Equal(t, want, requests.Filters(&given, "page", "after"))
	}
}
