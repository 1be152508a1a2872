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

// secretBytes is the length of a key's secret: as long as the hash (RFC 7518,
// 3.2).
const secretBytes = 32

// key setFile is a key set as it is written, in YAML or JSON.
type keySetFile struct {
	Keys []struct {
		ID        string          `yaml:"id"`
		Secret    settings.Secret `yaml:"secret"`
		SignsFrom string          `yaml:"signs_from"`
	} `yaml:"keys"`
}

var errNoKey = errors.New("it has no key; make one with: article key new")

// parse reads a key set. Errors name lines and keys, but quote nothing: any of it
// may be part of a secret.
func parse(content []byte) (keys, error) {
	var file keySetFile
	if err := decode(content, &file); err != nil {
		return nil, err
	}
	parsed := make(keys, 0, len(file.Keys))
	for i, entry := range file.Keys {
		if !validName.MatchString(entry.ID) {
			return nil, fmt.Errorf("key number %d has no id that can be used: write 1 to 64 letters, digits, '.', '_' or '-'", i+1)
		}
		if _, twice := parsed.find(entry.ID); twice {
			return nil, fmt.Errorf("two keys have the id %s: give every key its own", entry.ID)
		}
		secret, err := base64.StdEncoding.DecodeString(entry.Secret.Reveal())
		signsFrom, noTime := time.Parse(time.RFC3339, entry.SignsFrom)
		switch {
		case err != nil:
			return nil, fmt.Errorf("the secret of the key %s is not base64: write what openssl rand -base64 %d prints", entry.ID, secretBytes)
		case len(secret) < secretBytes:
			return nil, fmt.Errorf("the secret of the key %s has %d bytes, but needs %d: write what openssl rand -base64 %[3]d prints",
				entry.ID, len(secret), secretBytes)
		case noTime != nil:
			return nil, fmt.Errorf("signs_from of the key %s is no time: write the one from which it signs, such as 2006-01-02T15:04:05Z", entry.ID)
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
	decoder.KnownFields(true) // "sign_from" must not become a key without a time
	err := decoder.Decode(file)
	switch {
	case errors.Is(err, io.EOF):
		return errNoKey
	case err != nil:
		where := lineNumber.FindString(err.Error())
		if where == "" {
			where = "line 1"
		}
		return fmt.Errorf("near %s it is not written as a key set: it has a list keys, of which each has id, secret and signs_from, as article key new prints it", where)
	case !errors.Is(decoder.Decode(new(any)), io.EOF):
		return errors.New("it has more than one document: put all keys into one list, without --- between them")
	}
	return nil
}

// GenerateKeySet returns the text of a key set with one key. It signs since the day
// began, so that a service whose clock is behind has a key that signs, too.
func GenerateKeySet(now time.Time) string {
	return keys{}.with(now.UTC().Truncate(24 * time.Hour)).text()
}

// RotateKeySet returns the text of the key set with one more key, which signs from
// now+in on, and without the keys whose successor has been signing for longer
// than keep. In must be longer than a change of the file takes to reach every
// replica, and keep longer than a token is valid.
func RotateKeySet(content []byte, now time.Time, in, keep time.Duration) (string, error) {
	have, err := parse(content)
	if err != nil {
		return "", err
	}
	for len(have) > 1 && have[1].signsFrom.Before(now.Add(-keep)) {
		have = have[1:]
	}
	return have.with(now.Add(in)).text(), nil
}

// with adds a key that signs from the given time on and is called after it.
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
	more := append(k[:len(k):len(k)], key{id: id, secret: func() []byte { return secret }, signsFrom: signsFrom})
	more.sort()
	return more
}

func (k keys) text() string {
	var text strings.Builder
	text.WriteString("# Keep it secret. Every key verifies tokens; of those whose time has come the youngest signs.\nkeys:\n")
	for _, one := range k {
		secret := base64.StdEncoding.EncodeToString(one.secret())
		_, _ = fmt.Fprintf(&text, "  - id: %q\n    secret: %q\n    signs_from: %s\n", one.id, secret, one.signsFrom.Format(time.RFC3339))
	}
	return text.String()
}
