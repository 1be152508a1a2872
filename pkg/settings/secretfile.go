package settings

import "sync"

// SecretFile is a secret in a file that changes while the process runs. Its methods
// are safe for concurrent use.
type SecretFile struct {
	path string

	mu   sync.Mutex
	last Secret
}

// NewSecretFile returns the secret in the file path, whose content is initial until
// Read. If path is empty, the secret is always initial.
func NewSecretFile(path string, initial Secret) *SecretFile {
	return &SecretFile{path: path, last: initial}
}

// Read reads the file and returns the secret in it. If it can't be read now, it
// returns the last one that could be read, and an error: the file may be being
// replaced.
func (f *SecretFile) Read() (Secret, error) {
	if f.path == "" {
		return f.last, nil
	}
	text, err := readSecret(f.path)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		return f.last, err
	}
	f.last = Secret(text)
	return f.last, nil
}
