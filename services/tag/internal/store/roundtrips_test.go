package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// A write sends no more statements than it needs, each in one round trip: its row, the feed
// with the counters, and BEGIN and COMMIT.
func TestRoundTripsOfWrites(t *testing.T) {
	db, s := open(t, dbtest.Counted(t))
	one := create(t, s, "one").ID
	post := func(name string, key idempotency.Key) error {
		_, _, err := s.Create(t.Context(), draft(name, tag.Enabled), key)
		return err
	}
	require.NoError(t, post("repeated", idempotency.Key{Value: "repeated"}))
	for _, write := range []struct {
		about string
		trips int64
		do    func() error
	}{
		{"POST", 5, func() error { return post("a", idempotency.Key{}) }},
		{"POST with a key", 7, func() error { return post("b", idempotency.Key{Value: "b"}) }},
		{"repeated POST", 4, func() error { return post("repeated", idempotency.Key{Value: "repeated"}) }},
		{"PUT", 6, func() error { _, err := s.Update(t.Context(), one, draft("c", tag.Disabled), nil); return err }},
		{"DELETE", 6, func() error { return s.Delete(t.Context(), one, "", nil) }},
	} {
		require.Equal(t, write.trips, dbtest.RoundTrips(t, db, func() { require.NoError(t, write.do(), write.about) }), write.about)
	}
}
