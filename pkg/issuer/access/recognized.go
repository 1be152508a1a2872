package access

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"
)

const (
	// maxRecognized is the maximum number of secrets that are recognized.
	maxRecognized = 4096
	// recognizedFor is how long a client is recognized after a comparison. Clients
	// come back when their tokens expire, usually after an hour.
	recognizedFor = 24 * time.Hour
)

// mac is a message authentication code of a client's key, the stored hash and the
// secret.
type mac [sha256.Size]byte

// recognized remembers which clients have shown their secret lately; while a former
// secret is valid, a client may show both. It holds no secret, only a MAC of it under a
// random key of this process. The MAC includes the stored hash, which is read for each
// request, so a client that was rotated or removed is not recognized.
type recognized struct {
	hmacKey []byte
	size    int

	mu    sync.Mutex
	until map[mac]time.Time
}

func newRecognized(size int) *recognized {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails
	return &recognized{hmacKey: key, size: size, until: make(map[mac]time.Time)}
}

// mac takes the same time for known and unknown clients: their hashes have the same
// length.
func (r *recognized) mac(key string, stored Hash, secret string) (sum mac) {
	h := hmac.New(sha256.New, r.hmacKey)
	// No key and no hash contains a NUL, so no two different triples are equal.
	for _, part := range []string{key, "\x00", string(stored), "\x00", secret} {
		_, _ = h.Write([]byte(part))
	}
	h.Sum(sum[:0])
	return sum
}

// has reports whether the MAC was added. How long it looks says nothing about a secret,
// because nobody can choose or know a MAC.
func (r *recognized) has(sum mac) bool {
	r.mu.Lock()
	until := r.until[sum]
	r.mu.Unlock()
	return time.Now().Before(until)
}

// add remembers the MAC. If there are too many, it forgets another one.
func (r *recognized) add(sum mac) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, exists := r.until[sum]; !exists && len(r.until) >= r.size {
		for other := range r.until {
			delete(r.until, other)
			break
		}
	}
	r.until[sum] = time.Now().Add(recognizedFor)
}
