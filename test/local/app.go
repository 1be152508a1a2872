package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/achilles-blog/achilles/pkg/auth"
)

// app is the client that make run lets in: what a token is given for.
type app struct{ key, secret string }

// The files of DATA that say who is let in. The second holds the form that
// POST /auth takes.
const (
	ringFile = "keys.yaml"
	appFile  = "app"
)

// keyRing returns the file of the key ring, which it makes at the first start.
func (d *data) keyRing() (string, error) {
	path := d.path(ringFile)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	return path, d.keep(ringFile, auth.NewRing(time.Now()))
}

// app returns the app of this directory, which it makes at the first start.
func (d *data) app() (app, error) {
	if _, err := os.Stat(d.path(appFile)); !errors.Is(err, fs.ErrNotExist) {
		return readApp(d.dir)
	}
	made := app{key: "demo", secret: rand.Text()}
	form := url.Values{"app_key": {made.key}, "app_secret": {made.secret}}
	return made, d.keep(appFile, form.Encode()+"\n")
}

// keep writes a file that is for this user alone, whole or not at all.
func (d *data) keep(name, content string) error {
	path := d.path(name)
	err := os.WriteFile(path+".new", []byte(content), 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return d.unusable(err)
	}
	return nil
}

// readApp returns the app that make run keeps in the directory.
func readApp(dir string) (app, error) {
	path := filepath.Join(dir, appFile)
	content, err := os.ReadFile(path) // #nosec G304 -- inside DATA
	if errors.Is(err, fs.ErrNotExist) {
		return app{}, fmt.Errorf("make run has made no app in DATA=%s yet: start it, in another terminal, with the same DATA", dir)
	}
	if err != nil {
		return app{}, err
	}
	form, err := url.ParseQuery(string(bytes.TrimSpace(content)))
	kept := app{key: form.Get("app_key"), secret: form.Get("app_secret")}
	if err != nil || kept.key == "" || kept.secret == "" {
		return app{}, fmt.Errorf("%s is not what make run has written there: remove it and start make run again", path)
	}
	return kept, nil
}

// enter returns a client of the system behind the port that may write, by the
// app that the directory keeps.
func enter(ctx context.Context, portText, dir string) (*api, error) {
	port, err := parsePort(portText)
	if err != nil {
		return nil, err
	}
	own, err := readApp(dir)
	if err != nil {
		return nil, err
	}
	client := newAPI(fmt.Sprintf("http://127.0.0.1:%d", port))
	if err := client.login(ctx, own); err != nil {
		client.close()
		if errors.Is(err, errUnknownApp) {
			err = fmt.Errorf("what runs on %s does not know the app of DATA=%s: give the PORT and the DATA of the same make run", client.base, dir)
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
	defer client.close()
	_, err = fmt.Fprintln(stdout, client.token)
	return err
}

// admit sees to it that the app gets tokens, and lets the client in. At the
// first start, or on a new database, the app is not known; on the database of
// another DATA/app it is known by another secret.
func (s *system) admit(ctx context.Context, client *api) error {
	err := client.login(ctx, s.app)
	if !errors.Is(err, errUnknownApp) {
		return err
	}
	if s.article.manage(ctx, "add", s.app) != nil {
		if err := s.article.manage(ctx, "rotate", s.app); err != nil {
			return err
		}
	}
	return client.login(ctx, s.app)
}

// manage runs the service's command app.
func (s *service) manage(ctx context.Context, command string, own app) error {
	args := append([]string{"app", command, own.key, "--secret-file=-"}, s.database...)
	cmd := exec.CommandContext(ctx, s.path, args...) // #nosec G204 -- the service that the caller names
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = s.env, strings.NewReader(own.secret), s.log, s.log
	if err := cmd.Run(); err != nil && ctx.Err() == nil {
		return s.failure(fmt.Errorf("article app %s %s failed: %w", command, own.key, err))
	}
	return ctx.Err()
}
