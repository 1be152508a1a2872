package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// data is the directory that holds the databases, the credentials, the logs and
// the lock which says that somebody runs on them.
type data struct {
	dir  string
	lock *os.File
}

// openData makes the directory if it is not there and takes its lock.
func openData(dir string) (*data, error) {
	if dir == "" {
		return nil, errors.New("DATA is empty: name a directory, such as DATA=var")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	d := &data{dir: dir}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return nil, d.unusable(errors.New("it is a file, not a directory"))
	}
	if err := os.MkdirAll(d.path("log"), 0o750); err != nil {
		return nil, d.unusable(err)
	}
	d.lock, err = os.OpenFile(d.path("run.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, d.unusable(err)
	}
	if err := d.takeLock(); err != nil {
		_ = d.lock.Close()
		return nil, err
	}
	return d, nil
}

// takeLock locks the lock file, which the kernel unlocks when the process ends,
// however it ends, and leaves the process id in it.
func (d *data) takeLock() error {
	err := syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder, _ := os.ReadFile(d.lock.Name())
		return fmt.Errorf("another make run (process %s) uses %s: stop it, or give this one its own directory with DATA=…",
			strings.TrimSpace(string(holder)), d.dir)
	}
	if err != nil {
		return d.unusable(err)
	}
	if err := d.lock.Truncate(0); err != nil {
		return d.unusable(err)
	}
	if _, err := fmt.Fprintln(d.lock, os.Getpid()); err != nil {
		return d.unusable(err)
	}
	return nil
}

func (d *data) unusable(err error) error {
	// The path is in the message already.
	if failed := new(fs.PathError); errors.As(err, &failed) {
		err = failed.Err
	}
	return fmt.Errorf("DATA=%s can't be used: %w; choose a directory that can be written, such as DATA=$HOME/achilles", d.dir, err)
}

func (d *data) path(name ...string) string {
	return filepath.Join(append([]string{d.dir}, name...)...)
}

// newLog opens the log file of the given name, empty; what was there before
// is kept one start longer, under the name with ".1".
func (d *data) newLog(name string) (*os.File, error) {
	path := d.path("log", name+".log")
	if err := os.Rename(path, path+".1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, d.unusable(err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600) // #nosec G304 -- inside DATA
	if err != nil {
		return nil, d.unusable(err)
	}
	return file, nil
}

// Close gives the directory free.
func (d *data) Close() error { return d.lock.Close() }
