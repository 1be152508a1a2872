package bench_test

import (
	"bufio"
	"bytes"
	"database/sql"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/process"
)

// clockTick is the unit of /proc/PID/stat on every platform of Go's Linux.
const clockTick = 10 * time.Millisecond

// cpuTime returns the CPU time that a process has used.
func cpuTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // #nosec G304 -- a path in /proc
	require.NoError(t, err)
	_, rest, ok := bytes.Cut(text, []byte(") "))
	fields := bytes.Fields(rest)
	require.True(t, ok && len(fields) > 12)
	user, err := strconv.Atoi(string(fields[11]))
	require.NoError(t, err)
	system, err := strconv.Atoi(string(fields[12]))
	require.NoError(t, err)
	return time.Duration(user+system) * clockTick
}

// resident returns the memory of a process in bytes: VmRSS, or at its highest VmHWM.
func resident(t testing.TB, pid int, field string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // #nosec G304 -- a path in /proc
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(text), field+":")
	require.True(t, ok, field)
	kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	require.NoError(t, err)
	return kilobytes << 10
}

// allocations returns the number of heap objects that a Go process has allocated, from
// its metrics.
func allocations(t testing.TB, admin string) float64 {
	t.Helper()
	answer, err := process.Ask("GET", "http://"+admin+"/metrics", nil)
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(answer.Body), "\ngo_memstats_mallocs_total ")
	require.True(t, ok, "no go_memstats_mallocs_total")
	number, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	require.NoError(t, err)
	return number
}

// databasePID returns the process id of the database server.
func databasePID(t testing.TB, db *sql.DB) int {
	t.Helper()
	var path string
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT @@pid_file").Scan(&path))
	text, err := os.ReadFile(path) // #nosec G304 -- the file of a server of this test
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	return pid
}

// redisPID returns the process id of a Redis server.
func redisPID(t testing.TB, addr string) int {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = conn.Write([]byte("INFO server\r\n"))
	require.NoError(t, err)
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		if number, ok := strings.CutPrefix(lines.Text(), "process_id:"); ok {
			pid, err := strconv.Atoi(number)
			require.NoError(t, err)
			return pid
		}
	}
	require.Fail(t, "no process_id")
	return 0
}
