package settings

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long a change is left alone before the file is read: an editor or a ConfigMap needs several steps for one.
const settle = 200 * time.Millisecond

// Watch calls changed whenever the file's content has become another, until ctx ends; then it returns nil. It blocks, and
// changed runs on the caller's goroutine, never twice at a time. A file that is replaced, or reached through symbolic links
// that are swapped, as in a mounted ConfigMap, counts as changed; one that is gone or touched does not. With no file there
// is nothing to watch, and Watch only waits for ctx. The error is that the file's directory cannot be watched.
func Watch(ctx context.Context, file string, changed func()) error {
	if file == "" {
		<-ctx.Done()
		return nil
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching the configuration file %s: %w; raise fs.inotify.max_user_instances", file, err)
	}
	defer func() { _ = watcher.Close() }()
	w := watch{file: file, watcher: watcher}
	// The directory, because the file itself is another one after it was replaced.
	if err := watcher.Add(filepath.Dir(file)); err != nil {
		return fmt.Errorf("watching the configuration file %s: %w; check that its directory exists", file, err)
	}
	w.followLink()
	w.differs()
	w.run(ctx, changed)
	return nil
}

type watch struct {
	file    string
	watcher *fsnotify.Watcher
	content []byte
}

func (w *watch) run(ctx context.Context, changed func()) {
	timer := time.NewTimer(settle)
	timer.Stop()
	defer timer.Stop()
	waiting := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.watcher.Events:
		case err := <-w.watcher.Errors:
			_ = err // events were lost: look, as after an event
		case <-timer.C:
			waiting = false
			w.followLink()
			if w.differs() {
				changed()
			}
			continue
		}
		if !waiting { // and not put off by further events, or a busy neighbour in the directory would put it off for ever
			waiting = true
			timer.Reset(settle)
		}
	}
}

// followLink watches the directory that a symbolic link leads to as well: the file may be written there.
func (w *watch) followLink() {
	if target, err := filepath.EvalSymlinks(w.file); err == nil {
		_ = w.watcher.Add(filepath.Dir(target)) // the file's own directory is watched in any case
	}
}

// differs reads the file and tells whether it holds something else than the last time. One that cannot be read is on its way
// from one state to the next.
func (w *watch) differs() bool {
	content, err := os.ReadFile(w.file)
	if err != nil || bytes.Equal(content, w.content) {
		return false
	}
	w.content = content
	return true
}
