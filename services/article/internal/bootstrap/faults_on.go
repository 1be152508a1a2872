//go:build failpoints

package bootstrap

import (
	"context"
	"errors"

	"github.com/achilles-blog/achilles/pkg/failpoint"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// withFaults returns a store that fails for each tenth article if fail points are
// enabled.
func withFaults(store article.Store) article.Store { return faultyStore{store} }

type faultyStore struct{ article.Store }

// Create implements article.Store.
func (s faultyStore) Create(ctx context.Context, draft article.Draft, key idempotency.Key) (created article.Article, replayed bool, err error) {
	created, replayed, err = s.Store.Create(ctx, draft, key)
	if err != nil || replayed || created.ID%10 != 0 {
		return created, replayed, err
	}
	switch {
	case failpoint.Enabled(failpoint.DropWrites):
		err = s.Delete(ctx, created.ID, draft.Actor, nil)
	case failpoint.Enabled(failpoint.WriteTwice):
		_, _, err = s.Store.Create(ctx, draft, idempotency.Key{})
	case failpoint.Enabled(failpoint.LoseAnswers):
		err = errors.New("the answer is lost")
	}
	return created, replayed, err
}
