package lifecycle

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSelfCheckWaitsUntilTheServiceAnswers(t *testing.T) {
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer srv.Close()
	require.NoError(t, SelfCheck(t.Context(), srv.URL))
	require.EqualValues(t, 3, asked.Load())
}

func TestSelfCheckIgnoresProxies(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	require.NoError(t, SelfCheck(t.Context(), srv.URL))
}

func TestSelfCheckGivesUp(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
	}))
	defer srv.Close()
	givesUp := func(why string) {
		require.Eventually(t, func() bool { // the machine may be suspended
			err := selfCheck(t.Context(), srv.URL, 250*time.Millisecond)
			return errors.Is(err, errNotUp) && strings.Contains(err.Error(), why)
		}, time.Minute, time.Millisecond, why)
	}
	givesUp("418")
	srv.Close()
	givesUp("refused")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := selfCheck(ctx, srv.URL, selfCheckLimit)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, errNotUp)
}

// A server that accepts and hangs does not extend the limit.
func TestSelfCheckKeepsItsLimit(t *testing.T) {
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer srv.Close()
	defer close(hang)
	require.Eventually(t, func() bool { // the machine may be suspended
		began := time.Now()
		return errors.Is(selfCheck(t.Context(), srv.URL, 200*time.Millisecond), errNotUp) && time.Since(began) < selfCheckAttempt
	}, time.Minute, time.Millisecond, "an attempt exceeds the limit")
}
