package api

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Clients without a token leave a quarter of the places, and each client has a share.
func TestTransferPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		places := newTransfers(256, downloadShare, "Files.MaxDownloads", nil)
		enter := func(client string, anonymous bool) error {
			return places.enter(context.Background(), client, anonymous)
		}
		for n := range 192 {
			require.NoError(t, enter(fmt.Sprint("address ", n/32), true))
		}
		began := time.Now()
		require.ErrorIs(t, enter("another address", true), errTooManyTransfers)
		require.Equal(t, transferWait, time.Since(began))
		for range 32 {
			require.NoError(t, enter("app", false))
		}
		require.ErrorIs(t, enter("app", false), errTooManyTransfers)
		require.NoError(t, enter("another app", false))

		waiting := make(chan error)
		go func() { waiting <- enter("another address", true) }()
		synctest.Wait()
		places.end("address 0", true)
		require.NoError(t, <-waiting)
	})
}
