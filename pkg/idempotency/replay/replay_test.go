package replay_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/pkg/idempotency/replay"
)

func TestRepeatReturnsTheStoredObject(t *testing.T) {
	noise := make([]byte, 1<<20)
	_, _ = rand.Read(noise)
	type object struct {
		Text    string
		Bytes   []byte
		Created time.Time
	}
	objects := map[string]object{
		"zero":               {},
		"text":               {Text: "标签 <&> \x00"},
		"time":               {Created: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)},
		"control characters": {Text: strings.Repeat("\x00", 1<<20)},
		"bytes":              {Bytes: noise},
	}
	each(t, func(t *testing.T, db *database.DB, _ database.Config) {
		for about, want := range objects {
			t.Run(about, func(t *testing.T) {
				runs := 0
				for i := range 3 {
					got, replayed, err := create(t.Context(), db, idempotency.Key{Value: about}, retention,
						func(*gorm.DB) (object, error) { runs++; return want, nil })
					require.NoError(t, err)
					require.Equal(t, i > 0, replayed)
					require.Equal(t, want, got)
				}
				require.Equal(t, 1, runs)
			})
		}
	})
}

// A repeat may be served by a release whose object has more or fewer fields.
func TestRepeatAtAnotherRelease(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, _ database.Config) {
		key := idempotency.Key{Value: "key"}
		type old struct{ ID, Size int }
		_, _, err := create(t.Context(), db, key, retention, func(*gorm.DB) (old, error) { return old{1, 2}, nil })
		require.NoError(t, err)
		type next struct {
			ID   int
			Slug string
		}
		got, replayed, err := create(t.Context(), db, key, retention, func(*gorm.DB) (next, error) { return next{}, errors.New("create was called") })
		require.NoError(t, err)
		require.True(t, replayed)
		require.Equal(t, next{ID: 1}, got)
	})
}

// The JSON of an object may be larger than max_allowed_packet.
func TestObjectLargerThanPacket(t *testing.T) {
	db := open(t, dbtest.NewMySQL(t, "--max-allowed-packet=1M").Config(t))
	p := post{key: "key", text: strings.Repeat("<", 300_000)}
	first := p.must(t, db)
	require.Equal(t, first, p.must(t, db))
	require.Equal(t, 1, notes(t, db))
}

func TestWithoutKey(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, _ database.Config) {
		for range 2 {
			written, replayed, err := create(t.Context(), db, idempotency.Key{}, retention, func(tx *gorm.DB) (note, error) {
				n := note{Text: "same"}
				return n, tx.Create(&n).Error
			})
			require.NoError(t, err)
			require.False(t, replayed)
			require.Equal(t, "same", written.Text)
		}
		_, _, err := create(t.Context(), db, idempotency.Key{}, retention, func(tx *gorm.DB) (note, error) {
			return note{}, tx.Create(&note{ID: 1}).Error
		})
		require.ErrorIs(t, err, database.ErrDuplicate)
		require.Equal(t, 2, notes(t, db))
		require.Zero(t, keys(t, db))
	})
}

// What is to be finished comes last: the key has its object already. If it fails, nothing is
// written.
func TestFinish(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, _ database.Config) {
		for _, key := range []idempotency.Key{{}, {Value: "key"}} {
			for _, end := range []error{errcode.New(errcode.TagNameExists), nil} {
				finished := 0
				_, _, err := replay.Create(t.Context(), db, key, retention,
					func(tx *gorm.DB) (note, error) { n := note{Text: "text"}; return n, tx.Create(&n).Error },
					func(tx *gorm.DB, created note) error {
						finished++
						require.Equal(t, "text", created.Text)
						var unfinished int64
						require.NoError(t, tx.Table(db.Table("idempotency_key")).Where("object IS NULL").Count(&unfinished).Error)
						require.Zero(t, unfinished)
						return end
					})
				require.Equal(t, end, err)
				require.Equal(t, 1, finished)
			}
		}
		require.Equal(t, 2, notes(t, db))
		require.Equal(t, 1, keys(t, db))
	})
}

func TestReusedKey(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, _ database.Config) {
		p := post{client: "app", key: "key", text: "text"}
		first := p.must(t, db)
		other := p
		other.text = "other"
		_, runs, err := other.to(t.Context(), db)
		coded := requireCode(t, errcode.KeyReused, err)
		require.Len(t, coded.Details, 1)
		require.Zero(t, runs)
		require.Equal(t, first, p.must(t, db), "the key belongs to the first request")
		require.Equal(t, 1, notes(t, db))

		// Each of these pairs is another key.
		for i, pair := range [][2]string{
			{"", "key"}, {"App", "key"}, {"app ", "key"}, {"app", "Key"}, {"app", "key "}, {"ap", "pkey"}, {"appkey", ""},
			{"app", strings.Repeat("k", 255)}, {"app", strings.Repeat("k", 254) + "j"}, {strings.Repeat("标", 500), "key"},
		} {
			other := post{client: pair[0], key: pair[1], text: "text"}
			_, runs, err := other.to(t.Context(), db)
			require.NoError(t, err)
			require.Equal(t, 1, runs, "%q", pair)
			require.Equal(t, i+2, notes(t, db))
		}
	})
}

func TestErrorStoresNoKey(t *testing.T) {
	own, plain := errcode.New(errcode.TagNameExists), errors.New("plain")
	each(t, func(t *testing.T, db *database.DB, _ database.Config) {
		ctx, cancel := context.WithCancel(t.Context())
		for _, c := range []struct {
			during func(*gorm.DB, note) error
			want   error
		}{
			{func(*gorm.DB, note) error { return own }, own},
			{func(*gorm.DB, note) error { return plain }, plain},
			{func(tx *gorm.DB, n note) error { return tx.Create(&n).Error }, database.ErrDuplicate},
			{func(*gorm.DB, note) error { cancel(); return nil }, context.Canceled},
		} {
			_, runs, err := post{key: "key", text: "text", during: c.during}.to(ctx, db)
			require.ErrorIs(t, err, c.want)
			require.Equal(t, 1, runs)
			require.Zero(t, notes(t, db))
			require.Zero(t, keys(t, db))
		}
		_, _, err := create(t.Context(), db, post{key: "key"}.request(), retention, func(tx *gorm.DB) (chan int, error) {
			return nil, tx.Create(&note{}).Error
		})
		require.ErrorContains(t, err, "store what a request has created")
		require.Zero(t, notes(t, db))
		post{key: "key", text: "another"}.must(t, db)
		require.Equal(t, 1, notes(t, db))
	})
}

// twoPools returns two databases with their own pool, as of two replicas.
func twoPools(t *testing.T, db *database.DB, cfg database.Config) [2]*database.DB {
	t.Helper()
	return [2]*database.DB{db, dbtest.Open(t, cfg)}
}

// Of thirty concurrent requests, one is applied and the others get its object. If
// some transactions fail, another request is applied.
func TestConcurrentRepeats(t *testing.T) {
	if testing.Short() {
		t.Skip("slow test, skipped with -short")
	}
	for about, failures := range map[string]int32{"no errors": 0, "the first fails": 1, "four fail": 4} {
		t.Run(about, func(t *testing.T) {
			each(t, func(t *testing.T, db *database.DB, cfg database.Config) {
				pools := twoPools(t, db, cfg)
				own := errcode.New(errcode.TagNameExists)
				for round := range 5 {
					var started, failed, applied atomic.Int32
					p := post{key: fmt.Sprint(round), text: "text", during: func(*gorm.DB, note) error {
						if started.Add(1) <= failures {
							<-time.After(50 * time.Millisecond) // while others wait
							return own
						}
						return nil
					}}
					results := make([]note, 30)
					var repeats sync.WaitGroup
					for i := range results {
						repeats.Go(func() {
							got, runs, err := p.to(t.Context(), pools[i%2])
							switch {
							case errors.Is(err, own):
								failed.Add(1)
							case err != nil:
								t.Error(err)
							case runs > 0:
								applied.Add(1)
							}
							results[i] = got
						})
					}
					repeats.Wait()
					require.Equal(t, failures, failed.Load())
					require.EqualValues(t, 1, applied.Load())
					require.Equal(t, round+1, notes(t, db))
					want := p.must(t, db)
					require.NotZero(t, want.ID)
					same := 0
					for _, got := range results {
						if got == want {
							same++
						}
					}
					require.Equal(t, 30-int(failures), same)
				}
			})
		})
	}
}

// Concurrent requests with many keys, each sent several times, all succeed.
func TestManyKeysConcurrently(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, cfg database.Config) {
		pools := twoPools(t, db, cfg)
		var working sync.WaitGroup
		for w := range 12 {
			working.Go(func() {
				for i := range 30 {
					p := post{key: fmt.Sprint("key ", (i*7+w/3)%30), text: "text"}
					if _, _, err := p.to(t.Context(), pools[w%2]); err != nil {
						t.Error(err)
					}
				}
			})
		}
		working.Wait()
		require.Equal(t, 30, notes(t, db))
	})
}

// Two transactions with different keys lock two rows in opposite order. The database
// rolls one of them back, and it is retried.
func TestDeadlockIsRetried(t *testing.T) {
	db := open(t, dbtest.MySQL(t))
	for _, text := range []string{"a", "b"} {
		post{key: text, text: text}.must(t, db)
	}
	var locked sync.WaitGroup
	locked.Add(2)
	crossing := func(key string, first, second int) post {
		reached := false
		return post{key: key, text: key, during: func(tx *gorm.DB, _ note) error {
			if err := tx.Exec("UPDATE blog_note SET text = CONCAT(text, 'x') WHERE id = ?", first).Error; err != nil {
				return err
			}
			if !reached {
				reached = true
				locked.Done()
				locked.Wait()
			}
			return tx.Exec("UPDATE blog_note SET text = CONCAT(text, 'x') WHERE id = ?", second).Error
		}}
	}
	posts, runs := []post{crossing("c", 1, 2), crossing("d", 2, 1)}, [2]int{}
	var working sync.WaitGroup
	for i, p := range posts {
		working.Go(func() {
			var err error
			if _, runs[i], err = p.to(t.Context(), db); err != nil {
				t.Error(err)
			}
		})
	}
	working.Wait()
	require.Equal(t, 3, runs[0]+runs[1], "one of the two ran again")
	require.Equal(t, 4, notes(t, db))
	for _, p := range posts {
		got := p.must(t, db)
		require.Equal(t, p.text, got.Text)
	}
}

// A repeat waits for the first request, but no longer than Database.Timeout.
func TestRepeatWhileFirstRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("slow test, skipped with -short")
	}
	each(t, func(t *testing.T, db *database.DB, cfg database.Config) {
		first := newGate()
		p := post{key: "key", text: "text"}
		ended := make(chan error)
		var want note
		go func() {
			slow := p
			slow.during = first.pass
			var err error
			want, _, err = slow.to(t.Context(), db.WithTimeout(patience))
			ended <- err
		}()
		<-first.reached

		code := errcode.RequestInProgress
		if cfg.DBType == database.SQLite {
			code = errcode.Unavailable // every write waits for every other
		}
		// Some are shorter and some are longer than innodb_lock_wait_timeout, which is in
		// whole seconds.
		for _, limit := range []time.Duration{300 * time.Millisecond, time.Second, database.Default().Timeout, 2200 * time.Millisecond} {
			quick := cfg
			quick.Timeout = limit
			replica := dbtest.Open(t, quick)
			// On a stalled machine, the database may seem unavailable.
			require.Eventually(t, func() bool {
				began := time.Now()
				_, runs, err := p.to(t.Context(), replica)
				took := time.Since(began)
				require.Zero(t, runs)
				var coded *errcode.Error
				require.ErrorAs(t, err, &coded)
				require.Contains(t, []errcode.Code{code, errcode.Unavailable}, coded.Code)
				require.Positive(t, coded.RetryAfter)
				require.GreaterOrEqual(t, took, limit-limit/10, "it waits until the timeout")
				return coded.Code == code && took < limit+time.Second
			}, patience, time.Millisecond, "%s", limit)
		}
		// After the deadline of the request, the error is that of its context.
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, _, err := p.to(ctx, dbtest.Open(t, cfg))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		var coded *errcode.Error
		require.False(t, errors.As(err, &coded))

		waiting := make(chan error)
		var got note
		go func() {
			var err error
			got, _, err = p.to(t.Context(), dbtest.Open(t, cfg))
			waiting <- err
		}()
		select {
		case err := <-waiting:
			t.Fatal("a repeat did not wait: ", err)
		case <-time.After(100 * time.Millisecond):
		}
		close(first.opened)
		require.NoError(t, <-ended)
		require.NoError(t, <-waiting)
		require.Equal(t, want, got)
		require.Equal(t, 1, notes(t, db))
	})
}

// If the database hangs, the error is Unavailable and not RequestInProgress.
func TestHangingDatabase(t *testing.T) {
	server := dbtest.NewMySQL(t)
	cfg := server.Config(t)
	patient := open(t, cfg)
	cfg.Timeout = database.Default().Timeout
	db := dbtest.Open(t, cfg)
	p := post{key: "key", text: "text"}
	unavailable := func(p post) {
		t.Helper()
		dbtest.Within(t, 2*time.Second, func() {
			_, _, err := p.to(t.Context(), db)
			coded := requireCode(t, errcode.Unavailable, err)
			require.Positive(t, coded.RetryAfter)
		})
	}

	server.Pause(t)
	unavailable(p)
	server.Resume(t)

	release := dbtest.Hold(t, patient, "LOCK TABLES blog_idempotency_key WRITE") // as a migration would
	unavailable(p)
	release()

	require.NoError(t, patient.Gorm(t.Context()).Create(&note{Text: "other"}).Error)
	release = dbtest.Hold(t, patient, "UPDATE blog_note SET text = 'locked'")
	blocked := p
	blocked.during = func(tx *gorm.DB, _ note) error {
		return tx.Exec("UPDATE blog_note SET text = 'mine' WHERE id = 1").Error
	}
	unavailable(blocked) // it does not wait for the key
	release()

	server.Kill(t)
	unavailable(p)
	server.Start(t)
	require.Eventually(t, func() bool { return patient.Ping(t.Context()) == nil }, patience, 10*time.Millisecond)
	p.must(t, patient)
	p.must(t, patient)
	require.Equal(t, 2, notes(t, patient))
}

// An expired key has no effect, even if it has not been swept yet.
func TestExpiredKey(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, cfg database.Config) {
		first := post{key: "key", text: "first"}.must(t, db)
		expire(t, db)
		second := post{key: "key", text: "second"}
		got, runs, err := second.to(t.Context(), db)
		require.NoError(t, err)
		require.Equal(t, 1, runs)
		require.NotEqual(t, first, got)
		require.Equal(t, got, second.must(t, db), "the new request is stored")
		_, _, err = post{key: "key", text: "first"}.to(t.Context(), db)
		_ = requireCode(t, errcode.KeyReused, err)
		require.Equal(t, 2, notes(t, db))
		require.Equal(t, 1, keys(t, db))

		var expiresAt time.Time
		require.NoError(t, db.Gorm(t.Context()).Raw("SELECT expires_at FROM blog_idempotency_key").Row().Scan(&expiresAt))
		require.WithinDuration(t, time.Now().Add(retention), expiresAt, time.Minute)

		// An error keeps the expired key, and concurrent requests replace it once.
		expire(t, db)
		own := errcode.New(errcode.TagNameExists)
		_, _, err = post{key: "key", text: "x", during: func(*gorm.DB, note) error { return own }}.to(t.Context(), db)
		require.ErrorIs(t, err, own)
		pools := twoPools(t, db, cfg)
		var working sync.WaitGroup
		for i := range 20 {
			working.Go(func() {
				if _, _, err := (post{key: "key", text: "third"}).to(t.Context(), pools[i%2]); err != nil {
					t.Error(err)
				}
			})
		}
		working.Wait()
		require.Equal(t, 3, notes(t, db))
	})
}

// If the stored object is corrupt, the request is not applied again.
func TestCorruptObject(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, _ database.Config) {
		p := post{key: "key", text: strings.Repeat("x", 10_000)}
		p.must(t, db)
		require.NoError(t, db.Gorm(t.Context()).Exec("UPDATE blog_idempotency_key SET object = 'x'").Error)
		_, runs, err := p.to(t.Context(), db)
		require.ErrorContains(t, err, "read the object stored under an Idempotency-Key")
		require.Zero(t, runs)
	})
}

// No statement scans a table.
func TestNoFullScan(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, cfg database.Config) {
		if cfg.DBType == database.SQLite { // it plans without statistics, as in production, so the number of rows does not matter
			fill(t, db, 300, 220)
		} else {
			fill(t, db, 2000, 220)
			dbtest.Analyze(t, db, "idempotency_key")
		}
		dbtest.Indexed(t, db, func() {
			for range 2 {
				post{key: "key", text: "text"}.must(t, db)
			}
			require.NoError(t, db.Gorm(t.Context()).Exec("UPDATE blog_idempotency_key SET expires_at = ? WHERE id = ?", time.Now().UTC(), []byte("x")).Error)
			sweep(t, db)
		})
	})
}
