package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// A write sends no more statements than it needs, each in one round trip: its rows, the
// counters, the change in the outbox, and BEGIN and COMMIT.
func TestRoundTripsOfWrites(t *testing.T) {
	s := open(t, dbtest.Counted(t))
	s.replace(t, snapshot(1, 1, 2, 3, 4))
	tagged, plain := s.create(t, "tagged", 1, 2, 3).ID, s.create(t, "plain").ID
	s.create(t, "taken")
	require.NoError(t, third(s.Create(t.Context(), draft("repeated", 1), withKey("repeated"))))
	for _, write := range []struct {
		about string
		trips int64
		do    func() error
	}{
		{"POST", 10, func() error { return third(s.Create(t.Context(), draft("a", 1, 2, 3), idempotency.Key{})) }},
		{"POST without tags", 8, func() error { return third(s.Create(t.Context(), draft("untagged"), idempotency.Key{})) }},
		{"POST with a slug", 8, func() error { return third(s.Create(t.Context(), named("a", "sent"), idempotency.Key{})) }},
		{"POST with a title that is taken", 10, func() error { return third(s.Create(t.Context(), draft("taken"), idempotency.Key{})) }},
		{"POST with a key", 12, func() error { return third(s.Create(t.Context(), draft("keyed", 1, 2, 3), withKey("a"))) }},
		{"repeated POST", 4, func() error { return third(s.Create(t.Context(), draft("repeated", 1), withKey("repeated"))) }},
		{"PUT of a title", 10, func() error { return second(s.Update(t.Context(), plain, draft("b"), nil)) }},
		{"PUT of a slug", 9, func() error { return second(s.Update(t.Context(), plain, article.Draft{Slug: pointer("other")}, nil)) }},
		{"PUT of other tags and a title", 14, func() error { return second(s.Update(t.Context(), tagged, draft("b", 1, 2, 4), nil)) }},
		{"DELETE", 12, func() error { return s.Delete(t.Context(), tagged, "", nil) }},
	} {
		require.Equal(t, write.trips, dbtest.RoundTrips(t, s.db, func() { require.NoError(t, write.do(), write.about) }), write.about)
	}
}
