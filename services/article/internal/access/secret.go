package access

import (
	"crypto/rand"
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"
)

const (
	// cost is that of every hash. Were it raised, apps whose hashes are older
	// would be answered faster than those that do not exist; rotate them first.
	cost = 10
	// unmatched is a hash of that cost, whose secret nobody has kept: what a
	// secret is compared with where there is no app.
	unmatched Hash = "$2a$10$UOnfau6YPZRLNf/ck27DxeTyYYYdmx8kRj298FQG9H.2zkvczVu5K"

	secretBytes = 32
	minSecret   = 16
	maxSecret   = 72 // bcrypt looks no further
)

// NewSecret makes a secret that cannot be guessed.
func NewSecret() string {
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // never fails
	return base64.RawURLEncoding.EncodeToString(secret)
}

// possible tells whether an app can have the secret. Beyond these rules bcrypt
// takes some different texts for the same: those that agree in 72 bytes, and
// those that repeat themselves behind a NUL.
func possible(secret string) bool {
	return len(secret) >= minSecret && len(secret) <= maxSecret && utf8.ValidString(secret) &&
		!strings.ContainsFunc(secret, unicode.IsControl)
}

func hash(secret string, cost int) (Hash, error) {
	if !possible(secret) {
		return "", ErrBadSecret
	}
	hashed, err := bcrypt.GenerateFromPassword([]byte(secret), cost)
	return Hash(hashed), err
}
