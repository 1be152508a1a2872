package changefeed_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/achilles-blog/achilles/pkg/changefeed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOffsets(t *testing.T) {
	for _, offset := range []changefeed.Offset{{"0f6d5c2e-8c1f-11ef-b8a1-0242ac120002", 0}, {"p1", 17}, {"e", 1<<63 - 1}} {
		parsed, err := changefeed.ParseOffset(offset.String())
		require.NoError(t, err)
		require.Equal(t, offset, parsed)
	}
	for _, text := range []string{
		"", ".", "e", "e.", ".1", "1", "e.1.2", "e.01", "e.+1", "e.-1", "e. 1", "e.1 ", "e.x", "e.9223372036854775808", "e.18446744073709551616",
		strings.Repeat("e", 65) + ".1", "e.1\x00", "e,1", "\x00.1", "%.1", "é.1", "\xff.1", " .1", "'.1",
	} {
		_, err := changefeed.ParseOffset(text)
		require.Error(t, err, "%q", text)
	}
}

func TestBroadcaster(t *testing.T) {
	broadcaster := changefeed.NewBroadcaster()
	broadcaster.Broadcast() // without receivers, it has no effect
	first := broadcaster.Next()
	require.Equal(t, first, broadcaster.Next(), "all receivers share a channel")
	select {
	case <-first:
		t.Fatal("closed without a broadcast")
	default:
	}
	broadcaster.Broadcast()
	<-first
	second := broadcaster.Next()
	require.NotEqual(t, first, second)
	broadcaster.Broadcast()
	<-second
}

func TestBroadcasterUnderLoad(*testing.T) {
	broadcaster := changefeed.NewBroadcaster()
	var receiving, broadcasting sync.WaitGroup
	for range 8 {
		receiving.Go(func() {
			for range 100 {
				<-broadcaster.Next()
			}
		})
	}
	stop := make(chan struct{})
	for range 4 {
		broadcasting.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					broadcaster.Broadcast()
				}
			}
		})
	}
	receiving.Wait()
	close(stop)
	broadcasting.Wait()
}
