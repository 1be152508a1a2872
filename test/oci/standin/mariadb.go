package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	scripts   = "/docker-entrypoint-initdb.d"
	startTime = 2 * time.Minute
)

// mariadb is a server that is set up before it serves.
type mariadb struct {
	command            []string
	data, socket, port string
	password           string // root's, once it has one
}

// prepareMariaDB sets up an empty data directory. It listens on no port until
// that is done.
func prepareMariaDB(command []string) error {
	for _, question := range []string{"-?", "--help", "--print-defaults", "-V", "--version"} {
		if slices.Contains(command, question) {
			return nil
		}
	}
	if err := becomeServer("/var/lib/mysql", "/run/mysqld"); err != nil {
		return err
	}
	db, err := newMariaDB(command)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(db.data, "mysql")); err == nil {
		return nil
	}
	wanted, err := wantedFrom(os.Environ())
	if err != nil {
		return err
	}
	return db.setUp(wanted)
}

// newMariaDB asks the server itself where its arguments and files put things.
func newMariaDB(command []string) (*mariadb, error) {
	output, err := exec.Command(command[0], append(command[1:len(command):len(command)], "--verbose", "--help")...).Output() // #nosec G204 -- the server
	if err != nil {
		return nil, fmt.Errorf("%s does not understand its arguments: %w", command[0], withStderr(err))
	}
	db := &mariadb{command: command}
	for name, value := range map[string]*string{"datadir": &db.data, "socket": &db.socket, "port": &db.port} {
		for line := range strings.Lines(string(output)) {
			if fields := strings.Fields(line); len(fields) == 2 && fields[0] == name {
				*value = fields[1]
			}
		}
		if *value == "" {
			return nil, fmt.Errorf("%s does not say its %s", command[0], name)
		}
	}
	return db, nil
}

func (db *mariadb) setUp(wanted wanted) error {
	install := exec.Command("mariadb-install-db", append([]string{ // #nosec G204 -- the server's own arguments
		"--datadir=" + db.data, "--rpm", "--auth-root-authentication-method=normal", "--skip-test-db",
	}, db.command[1:]...)...)
	if output, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("mariadb-install-db: %w\n%s", err, output)
	}
	server := exec.Command(db.command[0], append(db.command[1:len(db.command):len(db.command)], // #nosec G204 -- the server
		"--skip-networking", "--socket="+db.socket, "--loose-innodb-buffer-pool-load-at-startup=0")...)
	server.Stdout, server.Stderr = os.Stdout, os.Stderr
	if err := server.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	if err := db.fill(wanted, ended); err != nil {
		_ = server.Process.Kill()
		return err
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return <-ended
}

// fill makes accounts and the database, and runs the scripts.
func (db *mariadb) fill(wanted wanted, ended <-chan error) error {
	if err := db.await(ended); err != nil {
		return err
	}
	if err := db.query(strings.NewReader(wanted.statements()), ""); err != nil {
		return err
	}
	db.password = wanted.rootPassword
	if err := db.addHealthcheck(); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(scripts, "*"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := db.runScript(file, wanted.database); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

func (db *mariadb) await(ended <-chan error) error {
	deadline := time.After(startTime)
	for {
		failed := db.query(strings.NewReader("SELECT 1"), "")
		if failed == nil {
			return nil
		}
		select {
		case err := <-ended:
			return fmt.Errorf("the server ended while it was set up: %w", errors.Join(err, failed))
		case <-deadline:
			return fmt.Errorf("the server did not start within %v: %w", startTime, failed)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// query runs SQL as root.
func (db *mariadb) query(sql io.Reader, database string) error {
	client := exec.Command("mariadb", "--no-defaults", "--protocol=socket", "--socket="+db.socket, "--user=root", "--batch", "--database="+database) // #nosec G204 -- the client
	client.Env = append(os.Environ(), "MYSQL_PWD="+db.password)
	client.Stdin = sql
	var failure bytes.Buffer
	client.Stderr = &failure
	if err := client.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, failure.String())
	}
	return nil
}

func (db *mariadb) runScript(file, database string) error {
	switch {
	case strings.HasSuffix(file, ".sh"):
		shell := exec.Command("bash", "-e", file) // #nosec G204 -- what was mounted to be run
		shell.Stdout, shell.Stderr = os.Stdout, os.Stderr
		return shell.Run()
	case strings.HasSuffix(file, ".sql"), strings.HasSuffix(file, ".sql.gz"):
		return db.runSQL(file, database)
	case strings.HasSuffix(file, ".sql.xz"), strings.HasSuffix(file, ".sql.zst"):
		return errors.New("this stand-in unpacks .gz only")
	default:
		fmt.Printf("ignoring %s\n", file)
		return nil
	}
}

func (db *mariadb) runSQL(path, database string) error {
	file, err := os.Open(path) // #nosec G304 -- what was mounted to be run
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if filepath.Ext(path) != ".gz" {
		return db.query(file, database)
	}
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		return err
	}
	return db.query(unpacked, database)
}

func withStderr(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return fmt.Errorf("%w\n%s", err, exit.Stderr)
	}
	return err
}
