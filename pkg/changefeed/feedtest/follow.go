package feedtest

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/changefeed/follow"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

// Objects are the states of objects by id.
type Objects map[uint64]string

// Snapshot has all objects as of an offset.
type Snapshot struct {
	Offset  changefeed.Offset
	Objects Objects
}

// At implements follow.Snapshot.
func (s Snapshot) At() changefeed.Offset { return s.Offset }

// Source is a feed as a follower reads it.
type Source[E changefeed.Entry] struct {
	Read func(ctx context.Context, after changefeed.Offset, limit int, wait time.Duration) (changefeed.Changes[E], error)
	All  func(context.Context) (Snapshot, error)
	// Entry returns what a change does; deleted says that the object is gone.
	Entry func(E) (id uint64, state string, deleted bool)
}

// Changes implements follow.Source.
func (s Source[E]) Changes(ctx context.Context, after changefeed.Offset, limit int, wait time.Duration) (changefeed.Changes[E], error) {
	found, err := s.Read(ctx, after, limit, wait)
	var coded *errcode.Error
	if errors.As(err, &coded) && coded.Code == errcode.ChangesTrimmed {
		err = follow.ErrStartOver
	}
	return found, err
}

// Snapshot implements follow.Source.
func (s Source[E]) Snapshot(ctx context.Context) (Snapshot, error) { return s.All(ctx) }

// model is a read model in memory, which outlives its followers as a database does.
type model[E changefeed.Entry] struct {
	source Source[E]

	mu       sync.Mutex
	offset   changefeed.Offset
	objects  Objects
	applied  int
	replaced int
}

var errCrash = errors.New("crashed before the commit")

func (m *model[E]) Offset(context.Context) (changefeed.Offset, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.offset, nil
}

// Apply implements follow.ReadModel. Now and then it fails before it commits.
func (m *model[E]) Apply(_ context.Context, changes changefeed.Changes[E]) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	objects, offset := maps.Clone(m.objects), m.offset
	if offset.Epoch != changes.Epoch {
		return follow.ErrStartOver
	}
	for _, change := range changes.Changes {
		switch {
		case change.Number() <= offset.Sequence:
			continue
		case change.Number() != offset.Sequence+1:
			return follow.ErrStartOver
		}
		if id, state, deleted := m.source.Entry(change); deleted {
			delete(objects, id)
		} else {
			objects[id] = state
		}
		offset.Sequence++
	}
	if rand.N(20) == 0 {
		return errCrash
	}
	m.applied += int(offset.Sequence - m.offset.Sequence)
	m.objects, m.offset = objects, offset
	return nil
}

func (m *model[E]) Replace(_ context.Context, from changefeed.Offset, snapshot Snapshot) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.offset == from {
		m.objects, m.offset = maps.Clone(snapshot.Objects), snapshot.Offset
		m.replaced++
	}
	return nil
}

func (m *model[E]) snapshot() (Objects, changefeed.Offset) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.objects), m.offset
}

// Follow runs writers that call write, each a number of times, while replicas follow the feed
// into one read model. The replicas are killed and started again; a crash loses what is not
// committed. If trim is not nil, it is called now and then. In the end, the read model must
// have the objects of the source.
func Follow[E changefeed.Entry](t *testing.T, source Source[E], writers, writes int, write func(ctx context.Context, writer, n int) error, trim func(context.Context) error) {
	t.Helper()
	m := &model[E]{source: source}
	first, err := source.Snapshot(t.Context())
	require.NoError(t, err)
	require.NoError(t, m.Replace(t.Context(), changefeed.Offset{}, first))
	ctx, stop := context.WithCancel(t.Context())
	var following, writing sync.WaitGroup
	for range 3 {
		following.Go(func() {
			for ctx.Err() == nil {
				life, kill := context.WithTimeout(ctx, 20*time.Millisecond+rand.N(300*time.Millisecond))
				follower, err := follow.NewFollower(source, follow.ReadModel[E, Snapshot](m), follow.Options{
					Name: "test", Wait: time.Second, CatchUpTimeout: time.Second, Ready: func() {}, Log: zap.NewNop(),
				}, prometheus.NewRegistry())
				report(t, err)
				report(t, follower.Run(life))
				kill()
			}
		})
	}
	for writer := range writers {
		writing.Go(func() {
			for n := range writes {
				report(t, write(t.Context(), writer, n))
				if trim != nil && n%10 == 9 && writer%4 == 0 {
					report(t, trim(t.Context()))
				}
			}
		})
	}
	writing.Wait()
	want, err := source.Snapshot(t.Context())
	require.NoError(t, err)
	require.Eventually(t, func() bool { _, at := m.snapshot(); return at == want.Offset }, time.Minute, 5*time.Millisecond, "%v", want.Offset)
	stop()
	following.Wait()
	got, _ := m.snapshot()
	require.Equal(t, want.Objects, got)
	if trim == nil {
		require.EqualValues(t, want.Offset.Sequence-first.Offset.Sequence, m.applied, "each change exactly once")
		require.Equal(t, 1, m.replaced)
	}
}
