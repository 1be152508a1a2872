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
	// cost is the bcrypt cost of every hash. If it is raised, clients with older
	// hashes are answered faster than unknown ones until their secrets are rotated.
	cost = 10
	// dummyHash is compared with the secret when the client is unknown. Nobody
	// knows its secret. It has the same cost as other hashes.
	dummyHash Hash = "$2a$10$UOnfau6YPZRLNf/ck27DxeTyYYYdmx8kRj298FQG9H.2zkvczVu5K"

	secretBytes     = 32
	minSecretLength = 16
	maxSecretLength = 72 // bcrypt ignores further bytes
)

// NewSecret returns a new random secret.
func NewSecret() string {
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // never fails
	return base64.RawURLEncoding.EncodeToString(secret)
}

// validSecret reports whether the secret is allowed. Without these rules bcrypt
// would treat different secrets as equal: those with the same first 72 bytes,
// and those that repeat themselves after a NUL.
func validSecret(secret string) bool {
	return len(secret) >= minSecretLength && len(secret) <= maxSecretLength && utf8.ValidString(secret) &&
		!strings.ContainsFunc(secret, unicode.IsControl)
}

func hash(secret string, cost int) (Hash, error) {
	if !validSecret(secret) {
		return "", ErrBadSecret
	}
	hashed, err := bcrypt.GenerateFromPassword([]byte(secret), cost)
	return Hash(hashed), err
}
