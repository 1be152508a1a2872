package replay_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

// Points at which a process is killed.
const (
	claimed   = "in the transaction"
	committed = "after the commit, before the response"
	writing   = "anywhere"
)

// start starts a process that creates notes and waits until it is at the point. kill
// sends SIGKILL.
func start(t *testing.T, point string, cfg database.Config) (kill func()) {
	t.Helper()
	process := exec.Command(os.Args[0])
	process.Env = environ(point, cfg)
	stdin, err := process.StdinPipe() // is closed when this process ends
	require.NoError(t, err)
	stdout, err := process.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, process.Start())
	killed := false
	kill = func() {
		if !killed {
			killed = true
			require.NoError(t, process.Process.Kill())
			require.Error(t, process.Wait())
			_ = stdin.Close()
		}
	}
	t.Cleanup(kill)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, point, strings.TrimSpace(line))
	return kill
}

func TestKilledInTransaction(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, cfg database.Config) {
		kill := start(t, claimed, cfg)
		again := post{key: "key", text: "text"}
		waiting := make(chan error)
		go func() {
			_, runs, err := again.to(t.Context(), db)
			if err == nil && runs != 1 {
				err = fmt.Errorf("the write ran %d times", runs)
			}
			waiting <- err
		}()
		select {
		case err := <-waiting:
			t.Fatal("a repeat did not wait for the first: ", err)
		case <-time.After(300 * time.Millisecond):
		}
		kill()
		require.NoError(t, <-waiting)
		_, runs, err := again.to(t.Context(), db)
		require.NoError(t, err)
		require.Zero(t, runs)
		require.Equal(t, 1, notes(t, db))
	})
}

func TestKilledAfterCommit(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, cfg database.Config) {
		start(t, committed, cfg)()
		got, runs, err := post{key: "key", text: "text"}.to(t.Context(), db)
		require.NoError(t, err)
		require.Zero(t, runs, "the first request was committed")
		require.Equal(t, note{ID: 1, Text: "text"}, got)
		require.Equal(t, 1, notes(t, db))
	})
}

func TestKilledAnywhere(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, cfg database.Config) {
		sent := 0
		for range 3 {
			kill := start(t, writing, cfg)
			enough := notes(t, db) + 1 + rand.IntN(20)
			require.Eventually(t, func() bool { return notes(t, db) >= enough }, patience, time.Millisecond)
			kill()
			// The client got no responses. It repeats all requests, and sends one more.
			for stored := notes(t, db); sent <= stored; sent++ {
				post{key: fmt.Sprint(sent), text: fmt.Sprint("note ", sent)}.must(t, db)
			}
			for i := range sent {
				_, runs, err := post{key: fmt.Sprint(i), text: fmt.Sprint("note ", i)}.to(t.Context(), db)
				require.NoError(t, err)
				require.Zero(t, runs)
			}
			var different int
			require.NoError(t, db.Gorm(t.Context()).Raw("SELECT COUNT(DISTINCT text) FROM blog_note").Scan(&different).Error)
			require.Equal(t, sent, different, "no note is lost")
			require.Equal(t, sent, notes(t, db), "no note is created twice")
			require.Equal(t, sent, keys(t, db))
		}
		require.Greater(t, sent, 3)
	})
}

// The server closes the connection, as in a shutdown.
func TestConnectionKilled(t *testing.T) {
	db := open(t, dbtest.MySQL(t))
	p := post{key: "key", text: "text"}
	p.during = func(tx *gorm.DB, _ note) error {
		var id int
		require.NoError(t, tx.Raw("SELECT CONNECTION_ID()").Scan(&id).Error)
		return db.Gorm(t.Context()).Exec(fmt.Sprintf("KILL %d", id)).Error
	}
	_, _, err := p.to(t.Context(), db)
	_ = requireCode(t, errcode.Unavailable, err)
	p.during = nil
	got, runs, err := p.to(t.Context(), db)
	require.NoError(t, err)
	require.Equal(t, 1, runs)
	require.Equal(t, got, p.must(t, db))
	require.Equal(t, 1, notes(t, db))
}
