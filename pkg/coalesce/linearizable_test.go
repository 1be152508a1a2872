package coalesce_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/singleflight"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/coalesce"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
)

// TestLinearizable records what concurrent readers and writers of a real database see,
// and checks that some order of the operations explains it in which each takes effect
// between its begin and its end.
func TestLinearizable(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		h := newHistory(t, cfg)
		g := coalesce.New(coalesce.Config{MaxReads: 2, MaxKeys: 2}, h.query)
		require.Equal(t, porcupine.Ok, h.record(t, g.Get))
		require.Less(t, h.queries.Load(), h.answers.Load(), "reads share queries")
		require.Eventually(t, g.Idle, patience, time.Millisecond)
	})
}

// TestLinearizableNegativeControl joins running queries, as singleflight does.
// TestLinearizable would notice.
func TestLinearizableNegativeControl(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		h := newHistory(t, cfg)
		var flights singleflight.Group
		require.Equal(t, porcupine.Illegal, h.record(t, func(ctx context.Context, key int) (int64, bool, error) {
			values, err, _ := flights.Do(fmt.Sprint(key), func() (any, error) {
				return h.query(context.WithoutCancel(ctx), []int{key})
			})
			if err != nil {
				return 0, false, err
			}
			value, found := values.(map[int]int64)[key]
			return value, found, nil
		}))
	})
}

const (
	rows    = 3
	readers = 12
	writers = 3
	writes  = 100 // of each writer
)

// operation is what porcupine calls the input: a write of a value, or a read. The value
// 0 is that of a row that doesn't exist.
type operation struct {
	row   int
	write bool
	value int64
}

// register is the model of a row: a read returns what was last written.
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byRow := make([][]porcupine.Operation, rows)
		for _, op := range history {
			row := op.Input.(operation).row
			byRow[row] = append(byRow[row], op)
		}
		return byRow
	},
	Init: func() any { return int64(0) },
	Step: func(state, input, output any) (bool, any) {
		if op := input.(operation); op.write {
			return true, op.value
		}
		return output == state, state
	},
}

// A history is the operations on the rows of a table.
type history struct {
	db      *database.DB
	queries atomic.Int64
	answers atomic.Int64 // of readers
	clock   atomic.Int64 // orders begins and ends

	mu         sync.Mutex
	changed    *sync.Cond
	written    int // writes that were acknowledged
	operations []porcupine.Operation
}

func newHistory(t *testing.T, cfg database.Config) *history {
	h := &history{db: dbtest.Open(t, cfg)}
	h.changed = sync.NewCond(&h.mu)
	_, err := h.db.SQL().ExecContext(t.Context(), "CREATE TABLE registers (id int PRIMARY KEY, value bigint NOT NULL)")
	require.NoError(t, err)
	return h
}

// query reads rows. It returns only after further writes were acknowledged, so that
// what it returns is stale to readers who begin after these.
func (h *history) query(ctx context.Context, keys []int) (map[int]int64, error) {
	h.queries.Add(1)
	var found []struct {
		ID    int
		Value int64
	}
	err := h.db.Read(ctx, func(db *gorm.DB) error {
		return db.Raw("SELECT id, value FROM registers WHERE id IN ?", keys).Scan(&found).Error
	})
	values := map[int]int64{}
	for _, row := range found {
		values[row.ID] = row.Value
	}
	h.awaitWrites(3)
	return values, err
}

// awaitWrites waits until n more writes were acknowledged, or all.
func (h *history) awaitWrites(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for until := min(h.written+n, writers*writes); h.written < until; {
		h.changed.Wait()
	}
}

// record runs readers and writers, and checks what they saw.
func (h *history) record(t *testing.T, get func(ctx context.Context, key int) (int64, bool, error)) porcupine.CheckResult {
	t.Helper()
	var clients sync.WaitGroup
	for client := range writers {
		clients.Go(func() {
			for i := range writes {
				h.write(t, client, int64(1+client*writes+i))
			}
		})
	}
	for client := range readers {
		clients.Go(func() {
			for h.writing() {
				h.awaitWrites(rand.N(4))
				h.read(t, writers+client, get)
			}
		})
	}
	clients.Wait()
	return porcupine.CheckOperationsTimeout(register, h.operations, patience)
}

func (h *history) writing() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.written < writers*writes
}

// write writes a value, or deletes the row.
func (h *history) write(t *testing.T, client int, value int64) {
	op := operation{row: rand.N(rows), write: true, value: value}
	statement, values := "REPLACE INTO registers (id, value) VALUES (?, ?)", []any{op.row, op.value}
	if rand.N(10) == 0 {
		op.value = 0
		statement, values = "DELETE FROM registers WHERE id = ?", values[:1]
	}
	begin := h.clock.Add(1)
	err := h.db.InTx(t.Context(), func(tx *gorm.DB) error { return tx.Exec(statement, values...).Error })
	end := h.clock.Add(1)
	assert.NoError(t, err)

	h.mu.Lock()
	defer h.mu.Unlock()
	h.written++
	h.changed.Broadcast()
	h.operations = append(h.operations, porcupine.Operation{ClientId: client, Input: op, Call: begin, Return: end})
}

// read reads a row. Some readers leave early.
func (h *history) read(t *testing.T, client int, get func(ctx context.Context, key int) (int64, bool, error)) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if rand.N(10) == 0 {
		defer time.AfterFunc(rand.N(time.Millisecond), cancel).Stop()
	}
	op := operation{row: rand.N(rows)}
	begin := h.clock.Add(1)
	value, found, err := get(ctx, op.row)
	end := h.clock.Add(1)
	if ctx.Err() != nil {
		return
	}
	assert.NoError(t, err)
	assert.Equal(t, value != 0, found)
	h.answers.Add(1)

	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, porcupine.Operation{ClientId: client, Input: op, Output: value, Call: begin, Return: end})
}
