// Package claim takes what make run needs of the machine before anything is
// built or started: the port of the gateway and the directory of the data. It
// imports the standard library only, so that checking both takes seconds on an
// empty build cache.
package claim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// addressFile holds the address of the make run that uses the directory.
const addressFile = "address"

// Data is the directory that holds the databases, the credentials, the logs and
// the lock which says that somebody runs on them.
type Data struct {
	Dir  string
	lock *os.File
}

// OpenData makes the directory if it doesn't exist and locks it.
func OpenData(dir string) (*Data, error) {
	if dir == "" {
		return nil, errors.New("DATA is empty: name a directory, such as DATA=var")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	d := &Data{Dir: dir}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return nil, d.Unusable(errors.New("it is a file, not a directory"))
	}
	if err := os.MkdirAll(d.Path("log"), 0o700); err != nil {
		return nil, d.Unusable(err)
	}
	d.lock, err = os.OpenFile(d.Path("run.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, d.Unusable(err)
	}
	if err := d.takeLock(); err != nil {
		_ = d.lock.Close()
		return nil, err
	}
	return d, nil
}

// takeLock locks the lock file, which the kernel unlocks when the process ends,
// however it ends, and leaves the process id in it.
func (d *Data) takeLock() error {
	err := syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder, _ := os.ReadFile(d.lock.Name())
		return fmt.Errorf("another make run (process %s) uses %s: stop it, or give this one its own directory with DATA=…",
			strings.TrimSpace(string(holder)), d.Dir)
	}
	if err != nil {
		return d.Unusable(err)
	}
	if err := d.lock.Truncate(0); err != nil {
		return d.Unusable(err)
	}
	if _, err := fmt.Fprintln(d.lock, os.Getpid()); err != nil {
		return d.Unusable(err)
	}
	return nil
}

// Unusable returns the error of a directory that can't be used because of err.
func (d *Data) Unusable(err error) error {
	// The path is in the message already.
	if failed := new(fs.PathError); errors.As(err, &failed) {
		err = failed.Err
	}
	return fmt.Errorf("DATA=%s can't be used: %w; choose a directory that can be written, such as DATA=$HOME/achilles", d.Dir, err)
}

// Path returns the path of a file in the directory.
func (d *Data) Path(name ...string) string {
	return filepath.Join(append([]string{d.Dir}, name...)...)
}

// Keep writes a file that only this user can read, whole or not at all.
func (d *Data) Keep(name, content string) error {
	path := d.Path(name)
	err := os.WriteFile(path+".new", []byte(content), 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return d.Unusable(err)
	}
	return nil
}

// KeepAddress tells make token and make demo where the gateway listens.
func (d *Data) KeepAddress(base string) error { return d.Keep(addressFile, base+"\n") }

// Address returns the address of the make run that uses the directory; "" if
// none does.
func Address(dir string) string {
	content, err := os.ReadFile(filepath.Join(dir, addressFile)) // #nosec G304 -- inside DATA
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(content))
}

// NewLog opens the log file of the given name, empty; what was there before
// is kept one start longer, under the name with ".1".
func (d *Data) NewLog(name string) (*os.File, error) {
	path := d.Path("log", name+".log")
	if err := os.Rename(path, path+".1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, d.Unusable(err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600) // #nosec G304 -- inside DATA
	if err != nil {
		return nil, d.Unusable(err)
	}
	return file, nil
}

// Close unlocks the directory.
func (d *Data) Close() error {
	_ = os.Remove(d.Path(addressFile))
	return d.lock.Close()
}
