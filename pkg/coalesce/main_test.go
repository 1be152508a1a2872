package coalesce_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/achilles-blog/achilles/pkg/coalesce"
	"github.com/achilles-blog/achilles/pkg/dbtest"
)

// TestMain fails on goroutines that outlive their callers.
func TestMain(m *testing.M) { dbtest.Main(m) }

// patience is the timeout of every wait that a passing test does not reach.
const patience = time.Minute

type group = coalesce.Group[int, string]

// A read is a call of a ReadFunc, which waits for a test to finish it.
type read struct {
	ctx    context.Context
	keys   []int
	result chan func() (map[int]string, error)
}

// finish ends the read with the value for each of its keys.
func (r read) finish(value string) {
	values := map[int]string{}
	for _, key := range r.keys {
		values[key] = value
	}
	r.finishWith(values)
}

func (r read) finishWith(values map[int]string) {
	r.result <- func() (map[int]string, error) { return values, nil }
}

// newGroup returns a Group, and its reads as they start. A read whose context ends
// returns the error of its context.
func newGroup(config coalesce.Config) (*group, <-chan read) {
	reads := make(chan read, 100)
	return coalesce.New(config, func(ctx context.Context, keys []int) (map[int]string, error) {
		r := read{ctx: ctx, keys: keys, result: make(chan func() (map[int]string, error))}
		reads <- r
		select {
		case result := <-r.result:
			return result()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}), reads
}

type result struct {
	value string
	found bool
	err   error
}

func got(value string) result { return result{value, true, nil} }

// get calls Get in another goroutine, and returns when that waits or has returned.
func get(ctx context.Context, g *group, key int) <-chan result {
	results := make(chan result, 1)
	go func() {
		defer close(results)
		value, found, err := g.Get(ctx, key)
		results <- result{value, found, err}
	}()
	synctest.Wait()
	return results
}
