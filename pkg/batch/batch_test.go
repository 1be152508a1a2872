package batch_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/batch"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
)

var text = errcode.Text{ZH: "错", EN: "wrong", ZHHantTW: "錯"}

func wrong(field string) error {
	return &errcode.Error{Code: errcode.InvalidParams, Details: []errcode.Detail{errcode.Invalid(field, errcode.Required, text)}}
}

func codeOf(t *testing.T, err error) errcode.Code {
	t.Helper()
	var coded *errcode.Error
	require.ErrorAs(t, err, &coded)
	return coded.Code
}

// Each item has its own key and its own result, in the order of the items.
func TestEach(t *testing.T) {
	items := batch.Items([]int{10, 11, 12, 13}, batch.Errors{{Index: 1, Err: wrong("a")}})
	key := idempotency.Key{Client: "app", Value: "k"}
	keys := map[[32]byte]bool{key.ID(): true}
	failure := errors.New("not created")
	results := batch.Each(t.Context(), items, key, func(_ context.Context, n int, key idempotency.Key) (int, bool, error) {
		require.False(t, keys[key.ID()], "another key")
		keys[key.ID()] = true
		if n == 12 {
			return 0, false, failure
		}
		return n, n == 13, nil
	})
	require.Equal(t, []batch.Result[int]{{Created: 10}, {Err: items[1].Err}, {Err: failure}, {Created: 13, Replayed: true}}, results)
	batch.Each(t.Context(), items, idempotency.Key{}, func(_ context.Context, n int, key idempotency.Key) (int, bool, error) {
		require.True(t, key.IsZero())
		return n, false, nil
	})
}

// After the first item for which the service is unavailable, none is tried.
func TestEachStopsWhenUnavailable(t *testing.T) {
	tried := 0
	items := batch.Items([]int{0, 1, 2, 3}, batch.Errors{{Index: 3, Err: wrong("a")}})
	results := batch.Each(t.Context(), items, idempotency.Key{}, func(_ context.Context, n int, _ idempotency.Key) (int, bool, error) {
		tried++
		if n == 1 {
			return 0, false, errcode.NewUnavailable(nil)
		}
		return n, false, nil
	})
	require.Equal(t, 2, tried)
	require.NoError(t, results[0].Err)
	for _, i := range []int{1, 2} {
		require.True(t, batch.IsUnavailable(results[i].Err))
	}
	require.Equal(t, errcode.InvalidParams, codeOf(t, results[3].Err), "which no repeat changes")
}

// A service that has become read-only does no further item.
func TestEachOfAReadOnlyService(t *testing.T) {
	tried := 0
	results := batch.Each(t.Context(), batch.Items([]int{1, 2, 3}, nil), idempotency.Key{}, func(context.Context, int, idempotency.Key) (int, bool, error) {
		tried++
		return 0, false, errcode.NewReadOnly(nil)
	})
	require.Equal(t, 1, tried)
	for _, result := range results {
		require.Equal(t, errcode.ReadOnly, codeOf(t, result.Err))
	}
}

// Items begin in the first two thirds of the time that is left.
func TestEachLeavesTimeForItsLastItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		results := batch.Each(ctx, batch.Items(make([]int, 100), nil), idempotency.Key{}, func(context.Context, int, idempotency.Key) (int, bool, error) {
			time.Sleep(time.Second)
			return 0, false, nil
		})
		for i, result := range results {
			require.Equal(t, i > 10, batch.IsUnavailable(result.Err), i)
		}
		require.NoError(t, ctx.Err())
	})
}

func TestNamed(t *testing.T) {
	require.NoError(t, batch.Named("notes", nil))
	plain := errors.New("plain")
	require.Equal(t, plain, batch.Named("notes", plain))
	mixed := batch.Errors{{0, wrong("a")}, {7, plain}}
	require.Equal(t, error(mixed), batch.Named("notes", mixed), "an internal error")
	require.ErrorIs(t, mixed, plain)
	require.ErrorContains(t, mixed, "item 7: plain")
	err := batch.Named("notes", batch.Errors{{0, wrong("a")}, {2, errcode.New(errcode.TooLarge, text)}, {7, wrong("")}})
	var coded *errcode.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, errcode.InvalidParams, coded.Code)
	require.Equal(t, []errcode.Detail{
		{Text: errcode.Text{ZH: "notes[0]: 错", EN: "notes[0]: wrong", ZHHantTW: "notes[0]: 錯"}, Field: "notes[0].a", Reason: errcode.Required},
		{Text: errcode.Text{ZH: "notes[7]: 错", EN: "notes[7]: wrong", ZHHantTW: "notes[7]: 錯"}, Field: "notes[7]", Reason: errcode.Required},
	}, coded.Details)
}
