package logging

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// A reader that doesn't read stops nobody; what doesn't fit is dropped and counted.
func TestUnreadPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, out := io.Pipe()
		log, err := New(Default(), true, out)
		require.NoError(t, err)
		log.Info("first")
		time.Sleep(flushInterval)
		synctest.Wait() // it is being written
		const lines = 5000
		filler := strings.Repeat("x", 1<<10)
		for i := range lines {
			log.Info(strconv.Itoa(i), zap.String("filler", filler))
		}
		begin := time.Now()
		require.NoError(t, log.Sync())
		require.Equal(t, syncTimeout, time.Since(begin))
		lost := testutil.ToFloat64(log.Collector())
		require.Positive(t, lost)
		require.LessOrEqual(t, len(log.writers[0].buffered), maxBuffered)

		var read bytes.Buffer
		var reading sync.WaitGroup
		reading.Go(func() { _, _ = io.Copy(&read, reader) })
		require.NoError(t, log.Sync())
		log.Info("last")
		require.NoError(t, log.Close())
		require.NoError(t, out.Close())
		reading.Wait()
		all := entries(t, read.String())
		require.Equal(t, "first", all[0]["msg"])
		for i, line := range all[1 : len(all)-2] {
			require.Equal(t, strconv.Itoa(i), line["msg"], "the oldest are kept, in order")
		}
		notice := all[len(all)-2]
		require.Equal(t, "lines of the log were dropped: it was not read fast enough", notice["msg"])
		require.Equal(t, lost, notice["lines"])
		require.Equal(t, "last", all[len(all)-1]["msg"])
		require.EqualValues(t, lines+3, float64(len(all))+lost)
		require.Equal(t, lost, testutil.ToFloat64(log.Collector()))
	})
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("no reader") }

func TestBrokenPipe(t *testing.T) {
	log, err := New(Default(), true, broken{})
	require.NoError(t, err)
	for range 3 {
		log.Info("x")
		require.NoError(t, log.Sync())
	}
	require.EqualValues(t, 3, testutil.ToFloat64(log.Collector()))
}

func TestConcurrentLines(t *testing.T) {
	var out bytes.Buffer
	log, err := New(Default(), true, &out)
	require.NoError(t, err)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				log.Info("line")
			}
		})
	}
	all.Wait()
	require.NoError(t, log.Close())
	require.Len(t, entries(t, out.String()), 1600)
}

// writes counts calls of Write.
type writes struct{ count atomic.Int64 }

func (w *writes) Write(lines []byte) (int, error) {
	w.count.Add(1)
	return len(lines), nil
}

// Lines are written together, but never late, and problems at once.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, begin := &writes{}, time.Now()
		log, err := New(Default(), true, out)
		require.NoError(t, err)
		for range 100 {
			log.Info("x")
		}
		synctest.Wait()
		require.Zero(t, out.count.Load(), "they wait for others")
		time.Sleep(flushInterval)
		synctest.Wait()
		require.EqualValues(t, 1, out.count.Load())
		for i, write := range []func(){
			func() { log.Warn("x") },
			func() { log.With(zap.Int("n", 1)).Error("x") },
			func() { log.Info(strings.Repeat("x", flushSize)) },
			func() { require.NoError(t, log.Sync()) },
		} {
			log.Info("x")
			write()
			synctest.Wait()
			require.EqualValues(t, 2+i, out.count.Load())
		}
		require.Equal(t, flushInterval, time.Since(begin), "the last ones waited for nothing")
	})
}
