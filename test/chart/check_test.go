package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// article check, which helm test runs, passes where both services work together, and leaves nothing behind.
func TestCheck(t *testing.T) {
	article := process.Service(t, "article")
	tags := process.Ready(t, process.Service(t, "tag"), process.On(dbtest.SQLite(t)))
	articles := process.Ready(t, article, process.Follow(dbtest.SQLite(t), tags.Addr(t)))
	p, exit := process.Run(t, article, nil, "check", "--tags", "http://"+tags.Addr(t), "--articles", "http://"+articles.Addr(t))
	require.Zero(t, exit, p.Stderr())
	require.Contains(t, p.Stdout(), "DELETE")
}
