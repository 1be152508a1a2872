package slowtrace

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// A trace that is too long is not kept.
func TestBounded(t *testing.T) {
	w := bounded{&bytes.Buffer{}}
	n, err := w.Write(make([]byte, maxTrace-1))
	require.NoError(t, err)
	require.Equal(t, maxTrace-1, n)
	_, err = w.Write(make([]byte, 1))
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 1))
	require.ErrorIs(t, err, errTooLong)
	require.Equal(t, maxTrace, w.Len())
}
