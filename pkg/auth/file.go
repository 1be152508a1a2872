package auth

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/achilles-blog/achilles/pkg/settings"
)

// secretBytes is the minimum length of a secret, that of the hash (RFC 7518, 3.2).
const secretBytes = 32

// keySetFile is the format of a key set file, in YAML or JSON.
type keySetFile struct {
	Keys []struct {
		ID        string          `yaml:"id"`
		Secret    settings.Secret `yaml:"secret"`
		SignsFrom string          `yaml:"signs_from"`
	} `yaml:"keys"`
}

// errNoKey doesn't advise to create a key set: it may have had keys, as after "article key rotate FILE >FILE".
var errNoKey = errors.New("it contains no keys; if it had some, restore them from a backup, because tokens that they signed would be rejected; " +
	"only a new installation creates a key set, with: article key new")

// parse parses a key set. Errors name lines and key ids, but never quote the file:
// a misplaced value may be a secret.
func parse(content []byte) (keys, error) {
	var file keySetFile
	if err := decode(content, &file); err != nil {
		return nil, err
	}
	parsed := make(keys, 0, len(file.Keys))
	for i, entry := range file.Keys {
		if !validName.MatchString(entry.ID) {
			return nil, fmt.Errorf("the id of key number %d is invalid: it must consist of 1 to 64 letters, digits, '.', '_' or '-'", i+1)
		}
		if _, duplicate := parsed.find(entry.ID); duplicate {
			return nil, fmt.Errorf("two keys have the id %s: ids must be unique", entry.ID)
		}
		secret, err := base64.StdEncoding.DecodeString(entry.Secret.Reveal())
		signsFrom, timeErr := time.Parse(time.RFC3339, entry.SignsFrom)
		switch {
		case err != nil:
			return nil, fmt.Errorf("the secret of the key %s is not base64: use the output of openssl rand -base64 %d", entry.ID, secretBytes)
		case len(secret) < secretBytes:
			return nil, fmt.Errorf("the secret of the key %s has %d bytes, but needs %d: use the output of openssl rand -base64 %[3]d",
				entry.ID, len(secret), secretBytes)
		case timeErr != nil:
			return nil, fmt.Errorf("signs_from of the key %s is not a time: write, for example, 2006-01-02T15:04:05Z", entry.ID)
		}
		parsed = append(parsed, key{id: entry.ID, secret: func() []byte { return secret }, signsFrom: signsFrom.UTC()})
	}
	if len(parsed) == 0 {
		return nil, errNoKey
	}
	parsed.sort()
	return parsed, nil
}

var lineNumber = regexp.MustCompile(`line \d+`)

func decode(content []byte, file *keySetFile) error {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true) // so that a misspelled signs_from is an error
	err := decoder.Decode(file)
	switch {
	case errors.Is(err, io.EOF):
		return errNoKey
	case err != nil:
		where := lineNumber.FindString(err.Error())
		if where == "" {
			where = "line 1"
		}
		return fmt.Errorf("near %s it is not a key set: a key set has a list keys with id, secret and signs_from, as article key new prints it", where)
	case !errors.Is(decoder.Decode(new(any)), io.EOF):
		return errors.New("it contains more than one YAML document: put all keys into one list")
	}
	return nil
}

// GenerateKeySet returns the text of a key set with one key. The key signs from the
// beginning of the day, so that it is active even if a service's clock is behind.
func GenerateKeySet(now time.Time) string {
	return keys{}.with(now.UTC().Truncate(24 * time.Hour)).text()
}

// RotateKeySet returns the text of the key set with a new key, which signs from
// now+in, and without the keys that stopped signing more than keep ago. in must be
// longer than a change of the file takes to reach every replica, and keep longer
// than a token is valid.
func RotateKeySet(content []byte, now time.Time, in, keep time.Duration) (string, error) {
	current, err := parse(content)
	if err != nil {
		return "", err
	}
	for len(current) > 1 && current[1].signsFrom.Before(now.Add(-keep)) {
		current = current[1:]
	}
	return current.with(now.Add(in)).text(), nil
}

// with returns the keys and a new one, whose id is the date of signsFrom.
func (k keys) with(signsFrom time.Time) keys {
	signsFrom = signsFrom.UTC().Truncate(time.Second)
	id := signsFrom.Format(time.DateOnly)
	for n := 2; ; n++ {
		if _, taken := k.find(id); !taken {
			break
		}
		id = fmt.Sprintf("%s-%d", signsFrom.Format(time.DateOnly), n)
	}
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // never fails
	extended := append(k[:len(k):len(k)], key{id: id, secret: func() []byte { return secret }, signsFrom: signsFrom})
	extended.sort()
	return extended
}

func (k keys) text() string {
	var text strings.Builder
	text.WriteString("# Keep it secret. Every key verifies tokens; the newest active key signs.\nkeys:\n")
	for _, key := range k {
		secret := base64.StdEncoding.EncodeToString(key.secret())
		_, _ = fmt.Fprintf(&text, "  - id: %q\n    secret: %q\n    signs_from: %s\n", key.id, secret, key.signsFrom.Format(time.RFC3339))
	}
	return text.String()
}
