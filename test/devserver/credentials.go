package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/test/devserver/claim"
)

// credentials are the key and secret of the client that make run gives tokens to.
type credentials struct{ key, secret string }

// The files of DATA for authentication. The second holds the form of POST /auth.
const (
	keysFile   = "keys.yaml"
	clientFile = "client"
)

// keySet returns the file of the key set, which it makes at the first start.
func keySet(d *claim.Data) (string, error) {
	path := d.Path(keysFile)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	return path, d.Keep(keysFile, auth.GenerateKeySet(time.Now()))
}

// openCredentials returns the credentials of the directory, which it makes at the first start.
func openCredentials(d *claim.Data) (credentials, error) {
	if _, err := os.Stat(d.Path(clientFile)); !errors.Is(err, fs.ErrNotExist) {
		return readCredentials(d.Dir)
	}
	made := credentials{key: "demo", secret: rand.Text()}
	form := url.Values{"app_key": {made.key}, "app_secret": {made.secret}}
	return made, d.Keep(clientFile, form.Encode()+"\n")
}

// readCredentials returns the credentials that make run keeps in the directory.
func readCredentials(dir string) (credentials, error) {
	path := filepath.Join(dir, clientFile)
	content, err := os.ReadFile(path) // #nosec G304 -- inside DATA
	if errors.Is(err, fs.ErrNotExist) {
		return credentials{}, fmt.Errorf("DATA=%s holds no credentials: start make run in another terminal, or give the DATA of the one that runs", dir)
	}
	if err != nil {
		return credentials{}, err
	}
	form, err := url.ParseQuery(string(bytes.TrimSpace(content)))
	kept := credentials{key: form.Get("app_key"), secret: form.Get("app_secret")}
	if err != nil || kept.key == "" || kept.secret == "" {
		return credentials{}, fmt.Errorf("%s does not contain what make run wrote: remove it and start make run again", path)
	}
	return kept, nil
}

// enter returns a client of the system that may write, as the client that the
// directory keeps. Without a port it is the one of the make run that uses the
// directory.
func enter(ctx context.Context, portText, dir string) (*api, error) {
	port, err := claim.ParsePort(portText)
	if err != nil {
		return nil, err
	}
	base := fmt.Sprintf("http://127.0.0.1:%d", port)
	if portText == "" {
		base = cmp.Or(claim.Address(dir), base)
	}
	own, err := readCredentials(dir)
	if err != nil {
		return nil, err
	}
	client, err := newAPI(base, own)
	if err != nil {
		return nil, err
	}
	if err := client.login(ctx); err != nil {
		client.Close()
		if errors.Is(err, errUnknownClient) {
			err = fmt.Errorf("the system on %s rejects the credentials in DATA=%s: give the DATA of the make run on that PORT", client.base, dir)
		}
		return nil, err
	}
	return client, nil
}

// token prints a token for the system behind the port, and nothing else.
func token(portText, dir string, stdout io.Writer) error {
	ctx, release := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer release()
	client, err := enter(ctx, portText, dir)
	if err != nil {
		return err
	}
	defer client.Close()
	issued, err := client.Token(ctx)
	if err == nil {
		_, err = fmt.Fprintln(stdout, issued)
	}
	return err
}

// admit logs the client in as the API client that make run keeps, which it adds to the service that issues
// the tokens at the first start or on a new database. On the database of another DATA/client it
// replaces the secret.
func (s *system) admit(ctx context.Context, client *api) error {
	err := client.login(ctx)
	if !errors.Is(err, errUnknownClient) {
		return err
	}
	if s.issuer().manage(ctx, "add", s.client) != nil {
		if err := s.issuer().manage(ctx, "rotate", s.client); err != nil {
			return err
		}
	}
	return client.login(ctx)
}

// manage runs the client command of the service.
func (s *service) manage(ctx context.Context, command string, own credentials) error {
	cmd := s.command(ctx, "client", command, own.key, "--secret-file=-")
	cmd.Stdin = strings.NewReader(own.secret)
	if err := cmd.Run(); err != nil && ctx.Err() == nil {
		return s.failure("%s client %s %s failed: %v", s.Name, command, own.key, err)
	}
	return ctx.Err()
}
