package idempotency_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
)

type body struct {
	Name  *string `json:"name"`
	State *int    `json:"state"`
}

func TestFromHeader(t *testing.T) {
	long := strings.Repeat("k", 255)
	for about, c := range map[string]struct {
		sent []string
		key  string // "" is refused
	}{
		"a UUID":              {[]string{"8e03978e-40d5-43dd-bc93-6894a57f9324"}, "8e03978e-40d5-43dd-bc93-6894a57f9324"},
		"in quotes":           {[]string{`"key"`}, `"key"`},
		"one character":       {[]string{"k"}, "k"},
		"from end to end":     {[]string{"~ !"}, "~ !"},
		"as long as can be":   {[]string{long}, long},
		"white space around":  {[]string{" \tkey \t"}, "key"},
		"too long":            {[]string{long + "k"}, ""},
		"empty":               {[]string{""}, ""},
		"white space":         {[]string{"  "}, ""},
		"a tab":               {[]string{"k\tey"}, ""},
		"a control character": {[]string{"k\x7fey"}, ""},
		"a NUL":               {[]string{"k\x00ey"}, ""},
		"not ASCII":           {[]string{"ключ"}, ""},
		"not even UTF-8":      {[]string{"k\xffey"}, ""},
		"twice":               {[]string{"key", "key"}, ""},
		"twice, once empty":   {[]string{"key", ""}, ""},
	} {
		t.Run(about, func(t *testing.T) {
			header := http.Header{}
			for _, value := range c.sent {
				header.Add("idempotency-key", value)
			}
			request, ok, err := idempotency.FromHeader(header, "app", http.MethodPost, "/notes", body{})
			require.Equal(t, c.key != "", ok)
			if !ok {
				coded := requireCode(t, errcode.InvalidParams, err)
				require.Len(t, coded.Details, 1)
				for _, locale := range []string{"zh", "en", "zh_Hant_TW"} {
					require.Contains(t, coded.Details[0].In(locale), "Idempotency-Key")
				}
				return
			}
			require.NoError(t, err)
			require.Equal(t, "app", request.AppKey)
			require.Equal(t, c.key, request.Key)
		})
	}
	_, ok, err := idempotency.FromHeader(http.Header{}, "app", http.MethodPost, "/notes", body{})
	require.False(t, ok)
	require.NoError(t, err)
}

func TestFingerprint(t *testing.T) {
	take := func(method, path string, bound any) [32]byte {
		header := http.Header{idempotency.Header: {"key"}}
		request, ok, err := idempotency.FromHeader(header, "app", method, path, bound)
		require.NoError(t, err)
		require.True(t, ok)
		return request.Fingerprint
	}
	bound := func(text string) (b body) {
		require.NoError(t, json.Unmarshal([]byte(text), &b))
		return b
	}
	first := take("POST", "/notes", bound(`{"name":"a","state":1}`))
	same := []any{
		bound(`{"state":1, "name":"\u0061", "unknown":7}`),
		// The next release has one field more, in another order.
		struct {
			Slug  *string `json:"slug"`
			State int     `json:"state"`
			Name  string  `json:"name"`
		}{State: 1, Name: "a"},
	}
	for _, b := range same {
		require.Equal(t, first, take("POST", "/notes", b))
	}
	sums := map[[32]byte]bool{first: true}
	for _, sum := range [][32]byte{
		take("PUT", "/notes", bound(`{"name":"a","state":1}`)), take("POST", "/note", bound(`{"name":"a","state":1}`)),
		take("POST", "/notes", bound(`{"name":"b","state":1}`)), take("POST", "/notes", bound(`{"name":"a","state":0}`)),
		take("POST", "/notes", bound(`{"name":"a"}`)), take("POST", "/notes", bound(`{"name":""}`)), take("POST", "/notes", bound(`{}`)),
		take("POST", "/notes", bound(`{"name":"null"}`)), take("POSTS", "/note", bound(`{}`)),
	} {
		require.False(t, sums[sum])
		sums[sum] = true
	}
	_, ok, err := idempotency.FromHeader(http.Header{idempotency.Header: {"key"}}, "app", "POST", "/notes", make(chan int))
	require.False(t, ok)
	require.ErrorContains(t, err, "/notes")
}
