package issuer

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func runPolicies(args ...string) (exit int, stdout, stderr string) {
	var out, errors bytes.Buffer
	exit = program().Main(append([]string{"policies"}, args...), nil, &out, &errors)
	return exit, out.String(), errors.String()
}

// open returns the address of a listener.
func open(t *testing.T) (net.Listener, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return listener, listener.Addr().String()
}

// closed returns an address that refuses connections.
func closed(t *testing.T) string {
	t.Helper()
	listener, address := open(t)
	require.NoError(t, listener.Close())
	return address
}

func TestPolicies(t *testing.T) {
	_, a := open(t)
	_, b := open(t)
	c, d := closed(t), closed(t)

	exit, stdout, stderr := runPolicies(c, d)
	require.Zero(t, exit, stderr)
	require.Contains(t, stdout, "refused    "+c)
	require.Contains(t, stdout, "refused    "+d)
	require.Contains(t, stdout, "The network policies are enforced")

	exit, stdout, stderr = runPolicies("--wait", "0s", a, b)
	require.Zero(t, exit, stderr)
	require.Contains(t, stdout, "accepted   "+a+"\naccepted   "+b+"\n")
	require.Contains(t, stdout, "WARNING: THE NETWORK POLICIES ARE NOT ENFORCED")

	exit, stdout, stderr = runPolicies("--wait", "0s", a, c)
	require.Equal(t, 1, exit, stdout)
	require.Contains(t, stderr, "the network policies are enforced, but connections to "+a+" are accepted")
	require.NotContains(t, stderr, c)

	exit, stdout, stderr = runPolicies("nowhere.invalid:80")
	require.Zero(t, exit, stderr)
	require.Contains(t, stdout, "not tested nowhere.invalid:80")
	require.Contains(t, stdout, "WARNING: NOTHING WAS TESTED")

	exit, _, stderr = runPolicies()
	require.Equal(t, 1, exit)
	require.Contains(t, stderr, "write article policies HOST:PORT…, but got no address")
	exit, _, stderr = runPolicies("achilles-tag")
	require.Equal(t, 1, exit)
	require.Contains(t, stderr, "missing port in address")
}

// The policies of a new pod may be enforced later than it starts.
func TestPoliciesWait(t *testing.T) {
	listener, address := open(t)
	go func() {
		for range 2 {
			if conn, err := listener.Accept(); err == nil {
				_ = conn.Close()
			}
		}
		_ = listener.Close()
	}()
	started := time.Now()
	exit, stdout, stderr := runPolicies("--wait", "1m", address)
	require.Zero(t, exit, stderr)
	require.Contains(t, stdout, "refused    "+address)
	require.Less(t, time.Since(started), 30*time.Second, "it doesn't wait longer than needed")
}
