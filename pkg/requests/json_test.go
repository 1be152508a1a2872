package requests_test

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Strings mean what encoding/json says, as values and as names.
func TestStringsOfJSON(t *testing.T) {
	parts := []string{`\n`, `\r`, `\t`, `\b`, `\f`, `\"`, `\\`, `\/`, `\u0041`, `\u00e9`, `\u20AC`, `\ud83d\ude00`, `\uD83D\uDE00`, `\u0000`, "a", "é", "€", "😀", "n", "u0041"}
	binder, random := newBinder(t), rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var quoted strings.Builder
		for range random.IntN(8) {
			quoted.WriteString(parts[random.IntN(len(parts))])
		}
		var want string
		require.NoError(t, json.Unmarshal([]byte(`"`+quoted.String()+`"`), &want))
		var got post
		require.NoError(t, binder.Body(request(asJSON, strings.NewReader(`{"title":"a","desc":"`+quoted.String()+`"}`)), &got))
		require.Equal(t, want, *got.Desc, "%q", quoted.String())
	}
	var got post
	require.NoError(t, newBinder(t).Body(request(asJSON, strings.NewReader(`{"\u0074itl\u0065":"a"}`)), &got))
	require.Equal(t, "a", *got.Title)
}
