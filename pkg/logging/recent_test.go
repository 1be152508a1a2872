package logging

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

func recentEntries(t *testing.T, log *Logger) []map[string]any {
	t.Helper()
	var lines []string
	for _, line := range log.Recent() {
		lines = append(lines, string(line))
	}
	return entries(t, strings.Join(lines, "\n"))
}

// Errors are kept as JSON, with the fields of their logger, also if the log is for people.
func TestRecent(t *testing.T) {
	log, err := New(Default(), false, io.Discard)
	require.NoError(t, err)
	require.Empty(t, log.Recent())
	service := log.With(zap.String("service", "tag"))
	service.Warn("a warning")
	service.Error("first", zap.Int("n", 1))
	service.Error("second\nline", zap.Error(io.EOF))
	all := recentEntries(t, log)
	require.Len(t, all, 2)
	require.NotEmpty(t, all[0]["ts"])
	delete(all[0], "ts")
	require.Equal(t, map[string]any{"level": "error", "msg": "second\nline", "service": "tag", "error": "EOF"}, all[0], "the newest first")
	require.Equal(t, "first", all[1]["msg"])
}

func recentBytes(log *Logger) (bytes int) {
	for _, line := range log.Recent() {
		bytes += len(line)
	}
	return bytes
}

// The number and the size of the errors are bounded, whatever is logged by however many.
func TestRecentIsBounded(t *testing.T) {
	log, err := New(Default(), true, io.Discard)
	require.NoError(t, err)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for n := range 1000 {
				log.Error(fmt.Sprint("short ", n))
				log.Recent()
			}
		})
	}
	all.Wait()
	require.Len(t, log.Recent(), maxRecent)

	long := strings.Repeat("x", maxRecentLine-100)
	for range maxRecent {
		log.Error(long)
	}
	require.LessOrEqual(t, recentBytes(log), maxRecentBytes)
	require.Len(t, log.Recent(), maxRecentBytes/(maxRecentLine-100+len(`{"level":"error","ts":"2026-01-02T03:04:05.000Z","msg":""}`)))

	for _, tooLong := range []string{strings.Repeat("y", maxRecentLine), strings.Repeat("\x01", maxRecentLine), strings.Repeat("é", maxRecentLine)} {
		log.Error("too long "+tooLong, zap.String("error", tooLong))
		newest := log.Recent()[0]
		require.LessOrEqual(t, len(newest), maxRecentLine)
		var entry map[string]string
		require.NoError(t, json.Unmarshal(newest, &entry))
		require.Contains(t, entry["msg"], "too long ")
		require.Equal(t, "error", entry["level"])
		require.Contains(t, entry["beginning"], `{"level":"error","ts":`)
	}
}
