// Package tlsfiles makes the TLS configurations of clients from certificate files
// that change while the process runs.
package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"

	"github.com/achilles-blog/achilles/pkg/settings"
)

// Config names the files of a client, in PEM.
type Config struct {
	CAFile     string // certificates of the authorities to trust, "" for those of the system
	CertFile   string // certificate of the client, "" for none
	KeyFile    string // key of CertFile
	SkipVerify bool   // accept any certificate of the server
}

// Validate returns an error if only one of CertFile and KeyFile is set, which are the
// keys of these settings in any section.
func (c Config) Validate() error {
	if (c.CertFile == "") != (c.KeyFile == "") {
		return settings.Invalid("KeyFile", c.KeyFile, "the key of CertFile, or empty without one")
	}
	return nil
}

// Files reads the files of a Config. Its methods are safe for concurrent use.
type Files struct {
	cfg Config

	mu   sync.Mutex
	last *tls.Config
}

// New returns the files of cfg, which are not read yet.
func New(cfg Config) *Files { return &Files{cfg: cfg} }

// Client reads the files and returns a configuration for one connection to the
// server with that name or address, so it must be called for each connection. If
// the files can't be used now, it returns the last usable configuration, or nil if
// there is none, and an error: the files may be being replaced.
func (f *Files) Client(serverName string) (*tls.Config, error) {
	read, err := f.cfg.read()
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.last = read
	}
	if f.last == nil {
		return nil, err
	}
	client := f.last.Clone()
	client.ServerName = serverName
	return client, err
}

func (c Config) read() (*tls.Config, error) {
	client := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.SkipVerify} // #nosec G402 -- the user's choice
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.CAFile != "" {
		content, err := os.ReadFile(c.CAFile) // #nosec G304 -- the user names the file
		if err != nil {
			return nil, fmt.Errorf("read the CA certificates: %w", err)
		}
		client.RootCAs = x509.NewCertPool()
		if !client.RootCAs.AppendCertsFromPEM(content) {
			return nil, fmt.Errorf("the file %s holds no certificate in PEM", c.CAFile)
		}
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read the client certificate %s and its key %s: %w", c.CertFile, c.KeyFile, err)
		}
		client.Certificates = []tls.Certificate{pair}
	}
	return client, nil
}
