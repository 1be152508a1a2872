package replay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/pkg/idempotency/replay"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// envKilled makes the test binary the process that is killed, see kill_test.go. Its
// value is the point.
const envKilled = "IDEMPOTENCY_TEST_KILLED"

func TestMain(m *testing.M) {
	if point := os.Getenv(envKilled); point != "" {
		postUntilKilled(point)
		return
	}
	dbtest.Main(m)
}

const patience = time.Minute

// note is the object that the tests create.
type note struct {
	ID   uint64 `gorm:"primaryKey" json:"id"`
	Text string `json:"text"`
}

// files returns the migrations of the notes.
func files() fstest.MapFS {
	return fstest.MapFS{
		"mysql/0001_note.sql": {Data: []byte("-- +goose Up\n" +
			"CREATE TABLE blog_note (id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, text longtext NOT NULL) ENGINE=InnoDB;\n")},
		"sqlite/0001_note.sql": {Data: []byte("-- +goose Up\n" +
			"CREATE TABLE blog_note (id integer NOT NULL PRIMARY KEY AUTOINCREMENT, text longtext NOT NULL);\n")},
	}
}

func migrations() database.Migrations {
	return database.Migrations{Service: "notes", Files: files(), Shared: map[int64]fs.FS{2: replay.Schema()}}
}

func open(t testing.TB, cfg database.Config) *database.DB {
	t.Helper()
	db := dbtest.Open(t, cfg)
	_, _, err := database.Migrate(t.Context(), db, migrations())
	require.NoError(t, err)
	return db
}

func each(t *testing.T, test func(t *testing.T, db *database.DB, cfg database.Config)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, cfg database.Config) { test(t, open(t, cfg), cfg) })
}

// post is a request that creates a note.
type post struct {
	client, key, text string
	// during runs in the transaction after the insertion of the note, unless nil.
	during func(tx *gorm.DB, written note) error
}

func (p post) request() idempotency.Key {
	encoded, _ := json.Marshal(p.text)
	k := idempotency.Key{Client: p.client, Value: p.key}
	copy(k.Fingerprint[:], encoded)
	return k
}

const retention = time.Hour

// create is replay.Create with nothing to finish.
func create[T any](ctx context.Context, db *database.DB, key idempotency.Key, retention time.Duration, fn func(*gorm.DB) (T, error)) (T, bool, error) {
	return replay.Create(ctx, db, key, retention, fn, func(*gorm.DB, T) error { return nil })
}

// to sends the request to db. It returns the note, and how often the transaction
// ran.
func (p post) to(ctx context.Context, db *database.DB) (got note, runs int, err error) {
	got, replayed, err := create(ctx, db, p.request(), retention, func(tx *gorm.DB) (note, error) {
		runs++
		n := note{Text: p.text}
		err := tx.Create(&n).Error
		if err == nil && p.during != nil {
			err = p.during(tx, n)
		}
		return n, err
	})
	if err == nil && replayed != (runs == 0) {
		err = fmt.Errorf("replayed is %t after %d runs", replayed, runs)
	}
	return got, runs, err
}

// must is like to and requires success.
func (p post) must(t *testing.T, db *database.DB) note {
	t.Helper()
	got, _, err := p.to(t.Context(), db)
	require.NoError(t, err)
	return got
}

func count(t *testing.T, db *database.DB, table string) (rows int) {
	t.Helper()
	require.NoError(t, db.Gorm(t.Context()).Raw("SELECT COUNT(*) FROM "+db.Table(table)).Scan(&rows).Error)
	return rows
}

func notes(t *testing.T, db *database.DB) int { t.Helper(); return count(t, db, "note") }
func keys(t *testing.T, db *database.DB) int  { t.Helper(); return count(t, db, "idempotency_key") }

// expire makes all keys expired.
func expire(t *testing.T, db *database.DB) {
	t.Helper()
	require.NoError(t, db.Gorm(t.Context()).Exec("UPDATE "+db.Table("idempotency_key")+" SET expires_at = ?",
		time.Now().UTC().Add(-time.Second)).Error)
}

func requireCode(t *testing.T, code errcode.Code, err error) *errcode.Error {
	t.Helper()
	var coded *errcode.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, code, coded.Code, "%v", err)
	return coded
}

// gate blocks a transaction in pass until opened is closed.
type gate struct{ reached, opened chan struct{} }

func newGate() gate { return gate{make(chan struct{}), make(chan struct{})} }

func (g gate) pass(tx *gorm.DB, _ note) error {
	close(g.reached)
	for {
		select {
		case <-g.opened:
			return nil
		case <-time.After(200 * time.Millisecond):
			if err := tx.Exec("SELECT 1").Error; err != nil { // the server ends an idle transaction
				return err
			}
		}
	}
}

// environ returns the environment of the process that is killed.
func environ(point string, cfg database.Config) []string {
	return append(os.Environ(), envKilled+"="+point, "IDEMPOTENCY_TEST_TYPE="+cfg.DBType, "IDEMPOTENCY_TEST_NAME="+cfg.DBName,
		"IDEMPOTENCY_TEST_HOST="+cfg.Host, "IDEMPOTENCY_TEST_USER="+cfg.Username, "IDEMPOTENCY_TEST_PASSWORD="+cfg.Password.Reveal())
}

// postUntilKilled creates notes. At the point it writes the point to stdout and waits.
func postUntilKilled(point string) {
	cfg := database.Default()
	cfg.DBType, cfg.DBName, cfg.Host = os.Getenv("IDEMPOTENCY_TEST_TYPE"), os.Getenv("IDEMPOTENCY_TEST_NAME"), os.Getenv("IDEMPOTENCY_TEST_HOST")
	cfg.Username, cfg.Password = os.Getenv("IDEMPOTENCY_TEST_USER"), settings.Secret(os.Getenv("IDEMPOTENCY_TEST_PASSWORD"))
	cfg.Timeout = patience
	db, err := database.Open(cfg, zap.NewNop())
	if err != nil {
		fmt.Println("the database cannot be opened:", err)
		return
	}
	wait := func() {
		fmt.Println(point)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
	switch point {
	case claimed:
		_, _, err = post{key: "key", text: "text", during: func(*gorm.DB, note) error { wait(); return nil }}.to(context.Background(), db)
	case committed:
		if _, _, err = (post{key: "key", text: "text"}).to(context.Background(), db); err == nil {
			wait()
		}
	case writing:
		fmt.Println(point)
		for i := 0; err == nil; i++ {
			_, _, err = post{key: fmt.Sprint(i), text: fmt.Sprint("note ", i)}.to(context.Background(), db)
		}
	}
	fmt.Println("the process was not killed:", err)
}
