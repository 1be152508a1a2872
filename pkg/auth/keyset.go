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

	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/settings"
)

const (
	// lookInterval is how often the file is read without a sign of a change: a
	// change may come before the watch, and some file systems tell nothing.
	lookInterval = 15 * time.Second
	// maxFile is far above any key set, and below what a wrong path such as a disk
	// image would put into memory.
	maxFile = 1 << 20
)

// KeySet signs and verifies tokens with the keys of one file, which every service
// has alike. Every key verifies; of those whose time has come the youngest
// signs. A key that is added with a time some minutes ahead is therefore known
// everywhere before it is used, and no token is refused while keys change. It
// is safe for concurrent use.
type KeySet struct {
	config Config
	keys   atomic.Pointer[keys]

	mu   sync.Mutex        // held while the file is read
	seen [sha256.Size]byte // what the file held the last time
	said string            // the last thing that was wrong with it
}

// OpenKeySet reads the key set that the configuration names. Without one the
// key set is empty: it refuses every token, and makes none. The error says what
// is wrong with the file, never what it holds.
func OpenKeySet(config Config) (*KeySet, error) {
	r := &KeySet{config: config}
	r.keys.Store(&keys{})
	if config.KeysFile == "" {
		return r, nil
	}
	_, err := r.read()
	return r, err
}

// Lifetime is how long a token is valid.
func (r *KeySet) Lifetime() time.Duration { return r.config.Lifetime }

// Watch takes over every change of the file until ctx ends; then it returns
// nil. A file that cannot be used is logged and changes nothing. Without a file
// it logs, once, that nobody is admitted.
func (r *KeySet) Watch(ctx context.Context, log *zap.Logger) error {
	file := r.config.KeysFile
	if file == "" {
		log.Warn("nobody can write, because every token is refused: set Auth.KeysFile to a key set, the same in every service; article key new makes one")
		<-ctx.Done()
		return nil
	}
	log.Info("key set", zap.String("file", file), zap.Strings("keys", r.keys.Load().ids()))
	r.reload(log) // it may have changed since it was opened
	var looking sync.WaitGroup
	looking.Go(func() { r.look(ctx, log) })
	defer looking.Wait()
	if err := settings.Watch(ctx, file, func() { r.reload(log) }); err != nil {
		log.Warn("a changed key set is noticed only after a while", zap.Duration("interval", lookInterval), zap.Error(err))
	}
	return nil
}

func (r *KeySet) look(ctx context.Context, log *zap.Logger) {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			r.reload(log)
		}
	}
}

// reload takes over what the file holds, and logs what came of it.
func (r *KeySet) reload(log *zap.Logger) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed, err := r.read()
	switch {
	case err == nil && changed:
		log.Info("key set read again", zap.String("file", r.config.KeysFile), zap.Strings("keys", r.keys.Load().ids()))
	case err != nil && err.Error() != r.said:
		log.Error("the changed key set is not used, the one before stays", zap.Error(err))
	}
	r.said = ""
	if err != nil {
		r.said = err.Error()
	}
}

// read takes over what the file holds, and tells whether it differs from the
// last time.
func (r *KeySet) read() (changed bool, err error) {
	content, err := readFile(r.config.KeysFile)
	if err != nil {
		return false, fmt.Errorf("the key set %s cannot be read: %w; mount it, or make one with: article key new", r.config.KeysFile, err)
	}
	hash := sha256.Sum256(content)
	if hash == r.seen {
		return false, nil
	}
	parsed, err := parse(content)
	if err != nil {
		return false, fmt.Errorf("the key set %s: %w", r.config.KeysFile, err)
	}
	r.keys.Store(&parsed)
	r.seen = hash
	return true, nil
}

func readFile(name string) ([]byte, error) {
	file, err := os.Open(name) // #nosec G304 -- whoever starts the program names the file
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err // the caller names the file
		}
		return nil, err
	}
	defer func() { _ = file.Close() }()
	var content bytes.Buffer
	if _, err := content.ReadFrom(io.LimitReader(file, maxFile+1)); err != nil {
		return nil, err
	}
	if content.Len() > maxFile {
		return nil, fmt.Errorf("it is longer than %d bytes", maxFile)
	}
	return content.Bytes(), nil
}

// key is one key of a key set.
type key struct {
	id        string
	secret    func() []byte // a function, because nothing can print what it returns
	signsFrom time.Time
}

// keys are those of a key set in the order in which they sign.
type keys []key

func (k keys) sort() {
	slices.SortFunc(k, func(a, b key) int { return cmp.Or(a.signsFrom.Compare(b.signsFrom), cmp.Compare(a.id, b.id)) })
}

func (k keys) ids() []string {
	ids := make([]string, 0, len(k))
	for _, one := range k {
		ids = append(ids, one.id)
	}
	return ids
}

func (k keys) find(id string) (key, bool) {
	i := slices.IndexFunc(k, func(one key) bool { return one.id == id })
	if i < 0 {
		return key{}, false
	}
	return k[i], true
}

// signing is the youngest key whose time has come.
func (k keys) signing(now time.Time) (key, bool) {
	for _, one := range slices.Backward(k) {
		if !one.signsFrom.After(now) {
			return one, true
		}
	}
	return key{}, false
}
