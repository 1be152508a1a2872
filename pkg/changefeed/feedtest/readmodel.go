package feedtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/changefeed/follow"
	"github.com/achilles-blog/achilles/pkg/changefeed/readmodel"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// ReadModel is a read model in SQL that follows the feed of a resource.
type ReadModel[E readmodel.Change[R], S readmodel.Snapshot[R], R readmodel.Row] struct {
	// Name is that of the resource, such as tag, and Plural that of several.
	Name, Plural string
	Migrations   database.Migrations
	Client       func(base string, token settings.Secret, timeout time.Duration) *follow.Client[E, S]
	Model        func(*database.DB) *readmodel.Store[E, S, R]
	// Row returns an object as of its n-th change.
	Row func(id uint64, n int) R
}

// Run tests the read model on each database.
func (m ReadModel[E, S, R]) Run(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := dbtest.Open(t, cfg)
		_, _, err := database.Migrate(t.Context(), db, m.Migrations)
		require.NoError(t, err)
		server := NewServer[R](t, m.Name, m.Plural)
		m.testCatchUp(t, db, server)
		m.testKilled(t, cfg, db, server)
	})
}

// testCatchUp requires that what was acknowledged by the other service is known.
func (m ReadModel[E, S, R]) testCatchUp(t *testing.T, db *database.DB, server *Server[R]) {
	follower, model := m.follower(t, db, server), m.Model(db)
	missing := func(ids ...uint64) (missing []uint64) {
		require.NoError(t, follower.CatchUp(t.Context()))
		require.NoError(t, db.Read(t.Context(), func(tx *gorm.DB) (err error) { missing, err = model.Missing(tx, ids); return err }))
		return missing
	}
	server.Put(m.Row(1, 0))
	require.Equal(t, []uint64{2}, missing(1, 2), "from a snapshot")
	server.Put(m.Row(2, 0))
	server.Put(m.Row(2, 1))
	server.Remove(1)
	require.Equal(t, []uint64{1}, missing(1, 2), "from changes")
	require.Empty(t, missing())
	rows, offset := m.read(t, db)
	require.Equal(t, server.Rows(), rows)
	require.Equal(t, changefeed.Offset{Epoch: "first", Sequence: 4}, offset)
	require.NoError(t, follower.CatchUp(t.Context()))
	again, _ := m.read(t, db)
	require.Equal(t, rows, again)
}

// testKilled kills followers at any time, while objects change, changes are trimmed and the
// feed begins another epoch. Whenever it is looked at, the read model has the objects as of its
// offset; in the end, it has all of them.
func (m ReadModel[E, S, R]) testKilled(t *testing.T, cfg database.Config, db *database.DB, server *Server[R]) {
	const objects, changes = 5, 120
	ctx, stop := context.WithCancel(t.Context())
	var following sync.WaitGroup
	for range 3 {
		replica := dbtest.Open(t, cfg)
		following.Go(func() {
			for ctx.Err() == nil {
				life, kill := context.WithTimeout(ctx, time.Millisecond+rand.N(200*time.Millisecond))
				report(t, m.follower(t, replica, server).Run(life))
				kill()
			}
		})
	}
	at := changefeed.Offset{Epoch: "first", Sequence: 4}
	states := map[changefeed.Offset]map[uint64]R{at: server.Rows()}
	for n := range changes {
		next, id := server.Rows(), 1+rand.Uint64N(objects)
		if delete(next, id); rand.N(3) > 0 {
			next[id] = m.Row(id, n)
		}
		at.Sequence++
		states[at] = next
		if row, ok := next[id]; ok {
			server.Put(row)
		} else {
			server.Remove(id)
		}
		switch n {
		case changes / 3:
			server.Trim()
		case changes / 2:
			at = changefeed.Offset{Epoch: "second", Sequence: 7}
			states[at] = next
			server.Restart(at.Epoch, at.Sequence)
		}
		if n%10 == 0 {
			m.await(t, db, at, states)
		}
		if t.Failed() {
			break
		}
	}
	if !t.Failed() {
		m.await(t, db, at, states)
	}
	stop()
	following.Wait()
}

// await waits until the read model has an offset.
func (m ReadModel[E, S, R]) await(t *testing.T, db *database.DB, at changefeed.Offset, states map[changefeed.Offset]map[uint64]R) {
	require.Eventually(t, func() bool {
		rows, offset := m.read(t, db)
		if fmt.Sprint(states[offset]) != fmt.Sprint(rows) {
			t.Errorf("at the offset %s the read model is %v, want %v", offset, rows, states[offset])
			return true
		}
		return offset == at
	}, time.Minute, time.Millisecond, "%s", at)
}

func (m ReadModel[E, S, R]) follower(t *testing.T, db *database.DB, server *Server[R]) *follow.Follower[E, S] {
	client := m.Client(server.URL, Token, time.Minute)
	t.Cleanup(client.Close)
	follower, err := follow.NewFollower(client, m.Model(db), follow.Options{
		Name: m.Name, Wait: time.Second, CatchUpTimeout: time.Minute, Ready: func() {}, Log: zap.NewNop(),
	}, prometheus.NewRegistry())
	report(t, err)
	return follower
}

// read returns the rows of the read model, and its offset.
func (m ReadModel[E, S, R]) read(t *testing.T, db *database.DB) (rows map[uint64]R, offset changefeed.Offset) {
	var all []R
	require.NoError(t, db.Snapshot(context.WithoutCancel(t.Context()), func(tx *gorm.DB) error {
		if err := tx.Table(db.Table(m.Name + "_offset")).Take(&offset).Error; err != nil {
			return err
		}
		return tx.Table(db.Table(m.Name + "_projection")).Find(&all).Error
	}))
	rows = map[uint64]R{}
	for _, row := range all {
		rows[row.Key()] = row
	}
	return rows, offset
}
