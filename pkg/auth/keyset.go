package auth

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/settings"
)

const (
	// pollInterval is the interval at which the file is read. Polling detects
	// changes before the watch started, and on file systems without notifications.
	pollInterval = 15 * time.Second
	// maxFileSize is the maximum size of the file in bytes. It protects the memory
	// if the path is wrong.
	maxFileSize = 1 << 20
)

// KeySet signs and verifies tokens with the keys of one file, which all services
// share. Every key verifies. The newest active key signs: the one with the latest
// signs_from that is not in the future. A new key whose signs_from is some minutes
// ahead is therefore known to every replica before it signs, and no token is
// rejected during a rotation. KeySet is safe for concurrent use.
type KeySet struct {
	config Config
	keys   atomic.Pointer[keys]
	failed atomic.Bool // whether the file could not be loaded when it was last read

	mu        sync.Mutex        // guards the fields below, and reading the file
	hash      [sha256.Size]byte // of the file when it was last loaded
	lastError string            // the error that was last logged
}

// OpenKeySet loads the key set in config.KeysFile. If KeysFile is empty, so is the
// key set: it rejects every token and signs none. Errors never quote the file.
func OpenKeySet(config Config) (*KeySet, error) {
	k := &KeySet{config: config}
	k.keys.Store(&keys{})
	if config.KeysFile == "" {
		return k, nil
	}
	_, err := k.read()
	return k, err
}

// Lifetime returns how long a token is valid.
func (k *KeySet) Lifetime() time.Duration { return k.config.Lifetime }

// Register registers metrics of the key set.
func (k *KeySet) Register(reg prometheus.Registerer) {
	gauge := func(name, help string, value func() int) prometheus.Collector {
		opts := prometheus.GaugeOpts{Namespace: "achilles", Subsystem: "key_set", Name: name, Help: help}
		return prometheus.NewGaugeFunc(opts, func() float64 { return float64(value()) })
	}
	reg.MustRegister(
		gauge("last_reload_successful", "1 if the file of the key set was valid when it was last read, else 0: the service uses the previous keys, and cannot be restarted.", func() int {
			if k.failed.Load() {
				return 0
			}
			return 1
		}),
		gauge("keys", "Keys that verify tokens.", func() int { return len(*k.keys.Load()) }),
		gauge("active_keys", "Keys that may sign tokens, because their signs_from has passed.", func() int { return k.keys.Load().active(time.Now()) }),
	)
}

// Watch reloads the file when it changes, until ctx ends; then it returns nil. An
// invalid file is logged and ignored. Without a file, Watch logs a warning.
func (k *KeySet) Watch(ctx context.Context, log *zap.Logger) error {
	file := k.config.KeysFile
	if file == "" {
		log.Warn("every token is rejected, so nobody can write: set Auth.KeysFile to a key set, the same in every service; article key new prints one")
		<-ctx.Done()
		return nil
	}
	log.Info("key set loaded", zap.String("file", file), zap.Strings("keys", k.keys.Load().ids()))
	k.warnIfInactive(log)
	k.reload(log) // it may have changed since OpenKeySet
	var polling sync.WaitGroup
	polling.Go(func() { k.poll(ctx, log) })
	defer polling.Wait()
	if err := settings.Watch(ctx, file, nil, func([]byte) { k.reload(log) }); err != nil {
		log.Warn("watching the key set failed, falling back to polling", zap.Duration("interval", pollInterval), zap.Error(err))
	}
	return nil
}

func (k *KeySet) poll(ctx context.Context, log *zap.Logger) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			k.reload(log)
		}
	}
}

// reload loads the file if it changed, and logs the result.
func (k *KeySet) reload(log *zap.Logger) {
	k.mu.Lock()
	defer k.mu.Unlock()
	changed, err := k.read()
	switch {
	case err == nil && changed:
		log.Info("key set reloaded", zap.String("file", k.config.KeysFile), zap.Strings("keys", k.keys.Load().ids()))
		k.warnIfInactive(log)
	case err != nil && err.Error() != k.lastError:
		log.Error("the changed key set is invalid, keeping the previous one", zap.Error(err))
	}
	k.failed.Store(err != nil)
	k.lastError = ""
	if err != nil {
		k.lastError = err.Error()
	}
}

// warnIfInactive logs a warning if no key is active yet.
func (k *KeySet) warnIfInactive(log *zap.Logger) {
	keys := *k.keys.Load()
	if _, active := keys.signing(time.Now()); !active {
		log.Warn("no key is active yet, so no token can be issued: set signs_from of a key to a time that has passed",
			zap.String("file", k.config.KeysFile), zap.Time("first_signs_from", keys[0].signsFrom))
	}
}

// read loads the file, and reports whether it changed.
func (k *KeySet) read() (changed bool, err error) {
	content, err := readFile(k.config.KeysFile)
	if err != nil {
		return false, fmt.Errorf("the key set %s cannot be read: %w; mount it, or create one with: article key new", k.config.KeysFile, err)
	}
	hash := sha256.Sum256(content)
	if hash == k.hash {
		return false, nil
	}
	parsed, err := parse(content)
	if err != nil {
		return false, fmt.Errorf("the key set %s: %w", k.config.KeysFile, err)
	}
	k.keys.Store(&parsed)
	k.hash = hash
	return true, nil
}

func readFile(name string) ([]byte, error) {
	file, err := os.Open(name) // #nosec G304 -- the operator names the file
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err // the caller names the file
		}
		return nil, err
	}
	defer func() { _ = file.Close() }()
	var content bytes.Buffer
	if _, err := content.ReadFrom(io.LimitReader(file, maxFileSize+1)); err != nil {
		return nil, err
	}
	if content.Len() > maxFileSize {
		return nil, fmt.Errorf("it is longer than %d bytes", maxFileSize)
	}
	return content.Bytes(), nil
}

// key is one key of a key set.
type key struct {
	id        string
	secret    func() []byte // a function, so that it can't be printed
	signsFrom time.Time
}

// keys are sorted by signsFrom.
type keys []key

func (k keys) sort() {
	slices.SortFunc(k, func(a, b key) int { return cmp.Or(a.signsFrom.Compare(b.signsFrom), cmp.Compare(a.id, b.id)) })
}

func (k keys) ids() []string {
	ids := make([]string, 0, len(k))
	for _, key := range k {
		ids = append(ids, key.id)
	}
	return ids
}

func (k keys) find(id string) (key, bool) {
	i := slices.IndexFunc(k, func(k key) bool { return k.id == id })
	if i < 0 {
		return key{}, false
	}
	return k[i], true
}

// active returns the number of keys whose signsFrom has passed.
func (k keys) active(now time.Time) int {
	n := 0
	for _, key := range k {
		if !key.signsFrom.After(now) {
			n++
		}
	}
	return n
}

// signing returns the newest active key.
func (k keys) signing(now time.Time) (key, bool) {
	for _, key := range slices.Backward(k) {
		if !key.signsFrom.After(now) {
			return key, true
		}
	}
	return key{}, false
}
