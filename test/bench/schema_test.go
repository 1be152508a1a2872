package bench_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/bench/seed"
	"github.com/achilles-blog/achilles/test/process"
)

const articleTable = seed.ArticleTable

// recount runs the command of the service that counts what was loaded.
func recount(t testing.TB, program string, settings process.Settings) {
	t.Helper()
	p := process.Start(t, program, settings.With(process.Settings{"Database.Timeout": "14s"}), "recount")
	for !p.Ended() { // with a million articles it takes longer than process.Patience
		time.Sleep(10 * time.Millisecond)
	}
	require.Zero(t, p.Exit(t), "%s recount: %s", program, p.Stderr())
}
