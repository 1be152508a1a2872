package process

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/achilles-blog/achilles/pkg/auth"
)

// AppKey is the default app key of clients.
const AppKey = "test"

// KeysFile returns the file with the default key set of services.
func KeysFile() string { return filepath.Join(built.dir, "keys.yaml") }

// Token returns a token for AppKey with the scope write, valid for a day.
func Token() string { return built.token }

// Header returns a header with the token, or without a token if it is empty.
func Header(token string) http.Header {
	if token == "" {
		return http.Header{"Authorization": nil}
	}
	return http.Header{"Authorization": {"Bearer " + token}}
}

// Sign returns a token with the scope write, signed with the key set in a file.
func Sign(keysFile, appKey string) (string, error) {
	config := auth.Default()
	config.KeysFile, config.Lifetime = keysFile, 24*time.Hour
	keySet, err := auth.OpenKeySet(config)
	if err != nil {
		return "", err
	}
	return keySet.Sign(appKey, []string{auth.ScopeWrite}, time.Now())
}

// prepare creates the directory of this test binary, with the key set.
func prepare() (err error) {
	if built.dir, err = os.MkdirTemp("", "achilles-process-"); err != nil {
		return err
	}
	err = os.WriteFile(KeysFile(), []byte(auth.GenerateKeySet(time.Now())), 0o600)
	if err == nil {
		built.token, err = Sign(KeysFile(), AppKey)
	}
	if err != nil {
		err = errors.Join(err, os.RemoveAll(built.dir))
	}
	return err
}
