package bootstrap

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The default of the body limit depends on App.MaxContentBytes.
func TestBodyLimit(t *testing.T) {
	config := defaults()
	require.Greater(t, shared(config).Server.MaxBodyBytes, int64(6*config.App.MaxContentBytes))
	config.Server.MaxBodyBytes = 1000
	require.EqualValues(t, 1000, shared(config).Server.MaxBodyBytes)
}
