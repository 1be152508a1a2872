package tlsfiles_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/tlsfiles"
)

// handshake connects to a server with the certificate and returns the subject of the
// client's certificate.
func handshake(t *testing.T, certificate, key string, client *tls.Config) (subject string, err error) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(certificate, key)
	require.NoError(t, err)
	ours, theirs := net.Pipe()
	defer func() { _ = ours.Close() }()
	server := tls.Server(theirs, &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert})
	done := make(chan []*x509.Certificate, 1)
	go func() {
		_ = server.Handshake()
		done <- server.ConnectionState().PeerCertificates
		_ = theirs.Close()
	}()
	err = tls.Client(ours, client).Handshake()
	_ = ours.Close()
	if sent := <-done; len(sent) > 0 {
		subject = sent[0].Subject.CommonName
	}
	return subject, err
}

func TestFilesAreReadForEachConnection(t *testing.T) {
	dir := t.TempDir()
	ca := dbtest.NewCA(t, dir)
	server, serverKey := ca.Issue(t, dir, "server")
	cert, key := ca.Issue(t, dir, "client")
	files := tlsfiles.New(tlsfiles.Config{CAFile: ca.File, CertFile: cert, KeyFile: key})
	connect := func() (string, error) {
		client, err := files.Client("127.0.0.1")
		require.NoError(t, err)
		return handshake(t, server, serverKey, client)
	}
	subject, err := connect()
	require.NoError(t, err)
	require.Equal(t, "client", subject)

	other := dbtest.NewCA(t, dir) // replaces the file
	_, err = connect()
	require.ErrorContains(t, err, "unknown authority", "the server's certificate is of the former authority")
	server, serverKey = other.Issue(t, dir, "server")
	renewed, renewedKey := other.Issue(t, dir, "renewed")
	require.NoError(t, os.Rename(renewed, cert))
	require.NoError(t, os.Rename(renewedKey, key))
	subject, err = connect()
	require.NoError(t, err)
	require.Equal(t, "renewed", subject)
}

func TestTheNameOfTheServerIsVerified(t *testing.T) {
	dir := t.TempDir()
	ca := dbtest.NewCA(t, dir)
	server, key := ca.Issue(t, dir, "server")
	for _, skip := range []bool{false, true} {
		client, err := tlsfiles.New(tlsfiles.Config{CAFile: ca.File, SkipVerify: skip}).Client("db.example")
		require.NoError(t, err)
		_, err = handshake(t, server, key, client)
		require.Equal(t, skip, err == nil, "%v", err)
	}
}

// A replacement of several files is not atomic.
func TestTheLastUsableFilesAreKept(t *testing.T) {
	dir := t.TempDir()
	ca := dbtest.NewCA(t, dir)
	cert, key := ca.Issue(t, dir, "client")
	files := tlsfiles.New(tlsfiles.Config{CAFile: ca.File, CertFile: cert, KeyFile: key})
	first, err := files.Client("db")
	require.NoError(t, err)
	_, otherKey := ca.Issue(t, dir, "other")
	require.NoError(t, os.Rename(otherKey, key))
	last, err := files.Client("db")
	require.ErrorContains(t, err, "private key does not match")
	require.Equal(t, first.Certificates, last.Certificates)
	require.NoError(t, os.WriteFile(ca.File, nil, 0o600))
	last, err = files.Client("db")
	require.ErrorContains(t, err, ca.File+" holds no certificate")
	require.Equal(t, first.RootCAs, last.RootCAs)
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	for want, cfg := range map[string]tlsfiles.Config{
		"the key of CertFile": {CertFile: "a.pem"},
		"/nowhere/ca.pem":     {CAFile: "/nowhere/ca.pem"},
		"/nowhere/cert.pem":   {CertFile: "/nowhere/cert.pem", KeyFile: "/nowhere/key.pem"},
	} {
		client, err := tlsfiles.New(cfg).Client("db")
		require.ErrorContains(t, err, want)
		require.Nil(t, client)
	}
}
