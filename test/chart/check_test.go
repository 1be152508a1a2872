package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// The command article check, which helm test runs, succeeds with working services.
func TestCheck(t *testing.T) {
	article := process.Service(t, "article")
	p, exit := process.Run(t, article, nil, "key", "new")
	require.Zero(t, exit, p.Stderr())
	keySet := process.Settings{"Auth.KeysFile": filepath.Join(t.TempDir(), "keys.yaml")}
	require.NoError(t, os.WriteFile(keySet["Auth.KeysFile"], []byte(p.Stdout()), 0o600))
	tags := process.Ready(t, process.Service(t, "tag"), process.On(dbtest.SQLite(t)).With(keySet))
	articles := process.Ready(t, article, process.Follow(dbtest.SQLite(t), tags.Addr(t)).With(keySet))
	p, exit = process.Run(t, article, keySet, "check", "--ready", "http://"+articles.Addr(t)+"/readyz", "--tags", "http://"+tags.Addr(t), "--articles", "http://"+articles.Addr(t))
	require.Zero(t, exit, p.Stderr())
	require.Contains(t, p.Stdout(), "/readyz: 200")
	require.Contains(t, p.Stdout(), "DELETE")
}
