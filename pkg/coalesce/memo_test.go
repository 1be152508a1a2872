package coalesce_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/coalesce"
)

func TestMemoComputesOnce(t *testing.T) {
	var m coalesce.Memo[string, string]
	var computed atomic.Int64
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for _, key := range []string{"a", "b"} {
				assert.Equal(t, key+"!", m.Get(key, func() string { computed.Add(1); return key + "!" }))
			}
		})
	}
	readers.Wait()
	require.EqualValues(t, 2, computed.Load())
}

func TestMemoForgetsPanics(t *testing.T) {
	var m coalesce.Memo[string, int]
	require.Panics(t, func() { m.Get("a", func() int { panic("x") }) })
	require.Equal(t, 1, m.Get("a", func() int { return 1 }))
}
