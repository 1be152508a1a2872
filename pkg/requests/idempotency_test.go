package requests_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/pkg/requests"
)

func TestIdempotencyKey(t *testing.T) {
	for about, c := range map[string]struct {
		sent  []string
		value string
		fails bool
	}{
		"none":              {},
		"a key":             {sent: []string{"key"}, value: "key"},
		"white space":       {sent: []string{" \tkey \t"}, value: "key"},
		"empty":             {sent: []string{""}, fails: true},
		"white space alone": {sent: []string{"  "}, fails: true},
		"too long":          {sent: []string{strings.Repeat("k", idempotency.MaxKeyLength+1)}, fails: true},
		"twice":             {sent: []string{"key", "key"}, fails: true},
		"twice, one empty":  {sent: []string{"key", ""}, fails: true},
	} {
		t.Run(about, func(t *testing.T) {
			ctx := request(asJSON, nil)
			for _, value := range c.sent {
				ctx.Request.Header.Add("idempotency-key", value)
			}
			key, err := requests.IdempotencyKey(ctx, "app", post{})
			if c.fails {
				var coded *errcode.Error
				require.ErrorAs(t, err, &coded)
				require.Equal(t, errcode.InvalidParams, coded.Code)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.value, key.Value)
		})
	}
}
