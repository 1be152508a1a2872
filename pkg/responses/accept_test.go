package responses_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/responses"
)

func TestWeights(t *testing.T) {
	for line, want := range map[string]map[string]float64{
		"":                            {},
		",, ;q=1":                     {},
		"gzip, br;q=0.5":              {"gzip": 1, "br": 0.5},
		"GZIP ; Q=0.25":               {"gzip": 0.25},
		"text/html;charset=x;q=0.1":   {"text/html": 0.1},
		"*;q=0, identity":             {"*": 0, "identity": 1},
		"a;q=x, b;q=2, c;q=-1":        {"a": 0, "b": 0, "c": 0},
		"a;q=NaN":                     {"a": 0},
		"a;q=0.2, a;q=0.7, a;q=0.4":   {"a": 0.7},
		"application/problem+json;q=": {},
	} {
		require.Equal(t, want, responses.Weights([]string{line}), line)
	}
	require.Equal(t, map[string]float64{"a": 1, "b": 1}, responses.Weights([]string{"a", "b"}), "lines are one list")
}
