package logging

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"

	"gopkg.in/natefinch/lumberjack.v2"
)

const (
	megabyte = 1 << 20
	// unlimited is a size in megabytes that no file has.
	unlimited = math.MaxInt / megabyte
)

// file is the log file. Its methods are safe for concurrent use.
//
// lumberjack renames it, and removes old ones. It does not decide when, because it does
// not append to a file that it has made: what two processes write there, such as a service
// and its command migrate, would be lost.
type file struct {
	log *lumberjack.Logger
	max int64 // size in bytes at which it is rotated; 0 for never

	mu     sync.Mutex
	shared bool
	open   bool
	size   int64
	failed int64 // size at which a rotation failed, 0 if the last one succeeded
	torn   bool  // the file ends with a part of a line
}

func openFile(cfg Config) (*file, error) {
	path := filepath.Join(cfg.LogSavePath, cfg.LogFileName)
	// lumberjack opens the file at the first line, which is too late to fail the start.
	if err := makeFile(path); err != nil {
		return nil, fmt.Errorf("log file %s cannot be written: %s; set Log.LogSavePath to a directory that this user can write, "+
			"or leave it empty to log to standard output only", path, cause(err))
	}
	log := &lumberjack.Logger{Filename: path, MaxSize: unlimited, MaxBackups: cfg.MaxBackups, MaxAge: cfg.MaxAge}
	return &file{log: log, max: int64(cfg.MaxSize) * megabyte}, nil
}

// Write implements io.Writer. p must be whole lines.
func (f *file) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.prepare(); err != nil {
		return 0, err
	}
	if full := f.max > 0 && f.size > 0 && f.size+int64(len(p)) > f.failed+f.max; full && !f.shared {
		if err := f.rotate(); err != nil {
			return 0, err
		}
	}
	if f.torn { // by a full disk: the next line must not be part of it
		if _, err := f.log.Write([]byte("\n")); err != nil {
			return 0, err
		}
		f.size, f.torn = f.size+1, false
	}
	n, err := f.log.Write(p)
	f.size, f.torn = f.size+int64(n), n > 0 && n < len(p)
	return n, err
}

// rotate renames the file and begins another one. If it can't be renamed, as one that is
// mounted by itself, it grows on, and is tried again after as many bytes: lines matter more
// than its size.
func (f *file) rotate() error {
	failed := f.log.Rotate() != nil
	if err := errors.Join(f.close(), f.prepare()); err != nil {
		return err
	}
	f.failed = 0
	if failed {
		f.failed = f.size
	}
	return nil
}

// prepare creates the file if it is missing: lumberjack appends only to a file that exists.
func (f *file) prepare() error {
	if f.open {
		return nil
	}
	if err := makeFile(f.log.Filename); err != nil {
		return err
	}
	info, err := os.Stat(f.log.Filename)
	if err == nil {
		f.open, f.size = true, info.Size()
	}
	return err
}

// share tells whether another process may have the file open, too. Then it is not rotated.
// When the other one has ended, or begins, the file is opened again by its name.
func (f *file) share(other bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shared = other
	return f.close()
}

// Close implements io.Closer. Write opens the file again.
func (f *file) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.close()
}

func (f *file) close() error {
	f.open = false
	return f.log.Close()
}

func makeFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) // #nosec G304 -- the configured file
	if err != nil {
		return err
	}
	return file.Close()
}

// cause removes the path, which the outer message contains.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
