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

// readDelay is the time from a change until the file is read. Editors and ConfigMaps change a file in several steps.
const readDelay = 200 * time.Millisecond

// Watch blocks and calls changed whenever the content of the file has changed. It returns nil when ctx ends, and an error if
// the file's directory cannot be watched. Watch notices that a file, or a symbolic link to it as in a mounted
// ConfigMap, is replaced. It ignores a missing file and an unchanged content. If file is empty, Watch only waits for ctx.
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
	// The directory, because the file may be replaced by another one.
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
	timer := time.NewTimer(readDelay)
	timer.Stop()
	defer timer.Stop()
	waiting := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.watcher.Events:
		case err := <-w.watcher.Errors:
			_ = err // events may have been lost
		case <-timer.C:
			waiting = false
			w.followLink()
			if w.differs() {
				changed()
			}
			continue
		}
		if !waiting { // further events must not extend the delay, or frequent ones would extend it for ever
			waiting = true
			timer.Reset(readDelay)
		}
	}
}

// followLink also watches the directory of the file to which a symbolic link leads: it may be written there.
func (w *watch) followLink() {
	if target, err := filepath.EvalSymlinks(w.file); err == nil {
		_ = w.watcher.Add(filepath.Dir(target)) // the directory of the link is watched in any case
	}
}

// differs reads the file and reports whether its content has changed. It ignores errors: the file may be being replaced.
func (w *watch) differs() bool {
	content, err := os.ReadFile(w.file)
	if err != nil || bytes.Equal(content, w.content) {
		return false
	}
	w.content = content
	return true
}
