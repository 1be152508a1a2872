package settings

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// readDelay is the time from a change until the file is read, and from then until it is read again. Editors and ConfigMaps change a
// file in several steps.
const readDelay = 200 * time.Millisecond

// lookInterval is the time between two looks at a file of which no change was noticed: a directory above it, or a link to one, may
// have been replaced.
const lookInterval = 10 * time.Second

// Watch blocks and calls changed with the content of the file whenever it has changed. It returns nil when ctx ends, and an error if
// the file's directory cannot be watched. Watch notices that a file, or a symbolic link to it as in a mounted
// ConfigMap, is replaced; of directories further up it notices that within lookInterval. A content counts when it is read twice in a
// row, so that a file that is being written is not read half. Watch ignores an unchanged content, and a file that is missing or not a
// regular one. known is the content that the caller has; nil for that at the beginning of the watch. If file is empty, Watch only
// waits for ctx. changed gets at most as much of a file as [Load] needs to reject it as
// too large.
func Watch(ctx context.Context, file string, known []byte, changed func(content []byte)) error {
	return watchEvery(ctx, lookInterval, file, known, changed)
}

func watchEvery(ctx context.Context, interval time.Duration, file string, known []byte, changed func(content []byte)) error {
	if file == "" {
		<-ctx.Done()
		return nil
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching the configuration file %s: %w; raise fs.inotify.max_user_instances", file, err)
	}
	defer func() { _ = watcher.Close() }()
	// The directory, because the file may be replaced by another one.
	if err := watcher.Add(filepath.Dir(file)); err != nil {
		return fmt.Errorf("watching the configuration file %s: %w; check that its directory exists", file, err)
	}
	w := watch{file: file, watcher: watcher, known: known}
	w.watchDirectories()
	if known == nil {
		w.known, _ = readRegular(file)
	}
	w.run(ctx, interval, changed)
	return nil
}

type watch struct {
	file    string
	watcher *fsnotify.Watcher
	known   []byte // the content of the last call of changed
	read    []byte // another content, which was read once
}

func (w *watch) run(ctx context.Context, interval time.Duration, changed func(content []byte)) {
	regularly := time.NewTicker(interval)
	defer regularly.Stop()
	timer := time.NewTimer(readDelay) // it may have changed before the watch began
	defer timer.Stop()
	waiting := true
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.watcher.Events:
		case err := <-w.watcher.Errors:
			_ = err // events may have been lost
		case <-regularly.C:
		case <-timer.C:
			w.watchDirectories()
			if waiting = w.look(changed); waiting {
				timer.Reset(readDelay)
			}
			continue
		}
		if !waiting { // further events must not extend the delay, or frequent ones would extend it for ever
			waiting = true
			timer.Reset(readDelay)
		}
	}
}

// watchDirectories watches the directory of the file, which may be another one than before, and that of the file to which a symbolic
// link leads: it may be written there.
func (w *watch) watchDirectories() {
	_ = w.watcher.Add(filepath.Dir(w.file)) // if it is missing, the next look comes
	if target, err := filepath.EvalSymlinks(w.file); err == nil {
		_ = w.watcher.Add(filepath.Dir(target))
	}
}

// look reads the file, and calls changed with a new content if that was there the last time, too. It reports whether to look again. It
// ignores errors: the file may be being replaced.
func (w *watch) look(changed func(content []byte)) (again bool) {
	content, err := readRegular(w.file)
	before := w.read
	w.read = nil
	switch {
	case err != nil || bytes.Equal(content, w.known):
		return false
	case before == nil || !bytes.Equal(content, before):
		w.read = content
		return true
	}
	w.known = content
	changed(content)
	return false
}
