package bootstrap_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/services/article/internal/bootstrap"
)

func TestTokenCommand(t *testing.T) {
	file := keySet(t)
	config := auth.Default()
	config.KeysFile = file
	keySet, err := auth.OpenKeySet(config)
	require.NoError(t, err)
	for _, c := range []struct {
		args   []string
		scopes []string
	}{
		{[]string{"demo"}, []string{"write"}},
		{[]string{"demo", "--scope", ""}, []string{}},
	} {
		var stdout, stderr bytes.Buffer
		exit := bootstrap.Command().Main(append([]string{"token", "--auth.keysfile", file}, c.args...), nil, &stdout, &stderr)
		require.Zero(t, exit, stderr.String())
		principal, err := keySet.Verify(strings.TrimSpace(stdout.String()), time.Now())
		require.NoError(t, err)
		require.Equal(t, auth.Principal{AppKey: "demo", Scopes: c.scopes}, principal)
	}
}

func TestTokenCommandErrors(t *testing.T) {
	for want, args := range map[string][]string{
		"set Auth.KeysFile":       {"token", "demo"},
		"is not a valid app key":  {"token", "a b", "--auth.keysfile", keySet(t)},
		"create one with":         {"token", "demo", "--auth.keysfile", "nowhere"},
		"write article token KEY": {"token"},
	} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, 1, bootstrap.Command().Main(args, nil, &stdout, &stderr))
		require.Contains(t, stderr.String(), want)
		require.Empty(t, stdout.String())
	}
}
