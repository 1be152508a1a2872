package process

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/achilles-blog/achilles/pkg/auth"
)

// AppKey is the app that all clients are, unless a test says otherwise.
const AppKey = "test"

// KeysFile is the key set of all services, as far as a test gives them no
// other.
func KeysFile() string { return filepath.Join(built.dir, "keys.yaml") }

// Token is one that KeysFile has signed: AppKey may write with it for a day.
func Token() string { return built.token }

// Header is the header of a client that shows the token, or none if it is empty.
func Header(token string) http.Header {
	if token == "" {
		return http.Header{"Authorization": nil}
	}
	return http.Header{"Authorization": {"Bearer " + token}}
}

// Sign returns a token of the key set in a file, for an app that may write.
func Sign(keysFile, appKey string) (string, error) {
	config := auth.Default()
	config.KeysFile, config.Lifetime = keysFile, 24*time.Hour
	keySet, err := auth.OpenKeySet(config)
	if err != nil {
		return "", err
	}
	return keySet.Sign(appKey, []string{auth.ScopeWrite}, time.Now())
}

// prepare makes the folder of this test binary, and in it the key set.
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
