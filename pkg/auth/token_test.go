package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// decoded decodes a part of a token.
func decoded(t testing.TB, token string, part int) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[part])
	require.NoError(t, err)
	return string(text)
}

// fields is a header or claims.
type fields map[string]any

func (f fields) with(name string, value any) fields {
	changed := fields{name: value}
	for other, value := range f {
		if other != name {
			changed[other] = value
		}
	}
	if value == nil {
		delete(changed, name)
	}
	return changed
}

func encoded(t testing.TB, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	require.NoError(t, err)
	return base64.RawURLEncoding.EncodeToString(text)
}

// forge signs with HMAC-SHA256. It does not use the JWT library, which rejects some
// of the headers and claims.
func forge(t testing.TB, header, claims fields, key string) string {
	t.Helper()
	text := encoded(t, header) + "." + encoded(t, claims)
	mac := hmac.New(sha256.New, []byte(key))
	_, _ = mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

var (
	goodHeader = fields{"alg": "HS256", "typ": "JWT", "kid": "one"}
	goodClaims = fields{
		"iss": "achilles", "aud": "achilles", "sub": "demo", "scope": "write",
		"iat": noon.Unix(), "nbf": noon.Unix(), "exp": noon.Add(time.Hour).Unix(),
	}
	goodKey = strings.Repeat("B", secretBytes)
)

func TestSignAndVerify(t *testing.T) {
	keySet := keySetOf(t, "keys:\n"+entry("one", 1, noon))
	token, err := keySet.Sign("demo", []string{ScopeWrite, "more"}, noon.Add(999*time.Millisecond))
	require.NoError(t, err)
	require.JSONEq(t, `{"alg":"HS256","typ":"JWT","kid":"one"}`, decoded(t, token, 0))
	require.JSONEq(t, fmt.Sprintf(`{"iss":"achilles","aud":["achilles"],"sub":"demo","scope":"write more","iat":%d,"nbf":%[1]d,"exp":%d}`,
		noon.Unix(), noon.Add(time.Hour).Unix()), decoded(t, token, 1))
	require.Less(t, len(token), maxTokenLength/8)

	principal, err := keySet.Verify(token, noon)
	require.NoError(t, err)
	require.Equal(t, Principal{AppKey: "demo", Scopes: []string{"write", "more"}}, principal)
	require.True(t, principal.Authenticated() && principal.HasScope("more") && !principal.HasScope("wri") && !principal.HasScope(""))
	require.False(t, Principal{}.Authenticated() || Principal{}.HasScope(ScopeWrite))

	token, err = keySet.Sign("reader", nil, noon)
	require.NoError(t, err)
	principal, err = keySet.Verify(token, noon)
	require.NoError(t, err)
	require.True(t, principal.Authenticated() && !principal.HasScope(ScopeWrite) && !principal.HasScope(""))
}

// Issuer, audience, lifetime and clock skew are configurable.
func TestTokenSettings(t *testing.T) {
	mine := keySetOf(t, "keys:\n"+entry("one", 1, noon))
	mine.config.Issuer, mine.config.Audience, mine.config.Lifetime, mine.config.ClockSkew = "me", "you", 2*time.Minute, 0
	token, err := mine.Sign("demo", nil, noon)
	require.NoError(t, err)
	_, err = mine.Verify(token, noon.Add(119*time.Second))
	require.NoError(t, err)
	_, err = mine.Verify(token, noon.Add(120*time.Second))
	requireCode(t, err, errcode.UnauthorizedExpired)
	_, err = keySetOf(t, "keys:\n"+entry("one", 1, noon)).Verify(token, noon)
	requireCode(t, err, errcode.UnauthorizedToken)
}

// Each forged token differs from a valid one in one way.
func TestForgedTokens(t *testing.T) {
	keySet := keySetOf(t, "keys:\n"+entry("one", 1, noon)+entry("other", 2, noon))
	good := forge(t, goodHeader, goodClaims, goodKey)
	principal, err := keySet.Verify(good, noon)
	require.NoError(t, err, "the valid token")
	require.Equal(t, Principal{AppKey: "demo", Scopes: []string{"write"}}, principal)

	parts := strings.Split(good, ".")
	unsigned := func(alg string) string {
		return encoded(t, goodHeader.with("alg", alg)) + "." + parts[1] + "."
	}
	tokens := map[string]string{
		"empty": "", "word": "token", "dots": "..", "two parts": parts[0] + "." + parts[1], "four parts": good + "." + parts[2],
		"leading space": " " + good, "trailing newline": good + "\n", "newline within": good[:20] + "\r\n" + good[20:], "padded": good + "=",
		"no signature": parts[0] + "." + parts[1] + ".", "cut signature": good[:len(good)-4],
		"none": unsigned("none"), "None": unsigned("None"), "NONE": unsigned("NONE"), "no algorithm": unsigned(""),
		"none, with the signature": unsigned("none") + parts[2],
		"other claims":             parts[0] + "." + encoded(t, goodClaims.with("sub", "admin")) + "." + parts[2],
		"other header":             encoded(t, goodHeader.with("kid", "other")) + "." + parts[1] + "." + parts[2],
		"last bits of the base64":  malleable(good),
		"header null":              base64.RawURLEncoding.EncodeToString([]byte("null")) + "." + parts[1] + "." + parts[2],
		"claims null":              forgeRaw(`{"alg":"HS256","kid":"one"}`, `null`),
		"claims a list":            forgeRaw(`{"alg":"HS256","kid":"one"}`, `[]`),
		"too long":                 forge(t, goodHeader, goodClaims.with("more", strings.Repeat("a", maxTokenLength)), goodKey),
	}
	for name, header := range map[string]fields{
		"no kid": goodHeader.with("kid", nil), "wrong kid": goodHeader.with("kid", "two"), "kid of another key": goodHeader.with("kid", "other"),
		"kid is a number": goodHeader.with("kid", 1), "kid is a list": goodHeader.with("kid", []string{"one"}), "kid is empty": goodHeader.with("kid", ""),
		"kid in upper case": goodHeader.with("kid", "ONE"), "kid is a path": goodHeader.with("kid", "../../dev/null"),
		"algorithm in lower case": goodHeader.with("alg", "hs256"), "algorithm is a list": goodHeader.with("alg", []string{"HS256"}),
		"critical extension": goodHeader.with("crit", []string{"b64"}).with("b64", false),
	} {
		tokens[name] = forge(t, header, goodClaims, goodKey)
	}
	for name, claims := range map[string]fields{
		"no exp": goodClaims.with("exp", nil), "exp is a text": goodClaims.with("exp", "tomorrow"), "exp is 0": goodClaims.with("exp", 0),
		"no nbf": goodClaims.with("nbf", nil), "not yet valid": goodClaims.with("nbf", noon.Add(31*time.Second).Unix()),
		"issued in the future": goodClaims.with("iat", noon.Add(31*time.Second).Unix()),
		"no iss":               goodClaims.with("iss", nil), "foreign iss": goodClaims.with("iss", "achilles2"), "iss is a list": goodClaims.with("iss", []string{"achilles"}),
		"no aud": goodClaims.with("aud", nil), "foreign aud": goodClaims.with("aud", "other"), "no aud in the list": goodClaims.with("aud", []string{}),
		"no sub": goodClaims.with("sub", nil), "sub is empty": goodClaims.with("sub", ""), "sub is no app key": goodClaims.with("sub", "a b"),
		"sub is long": goodClaims.with("sub", strings.Repeat("a", 65)), "sub has a line end": goodClaims.with("sub", "demo\n"),
		"scope is a list":          goodClaims.with("scope", []string{"write"}),
		"expired and foreign":      goodClaims.with("exp", noon.Add(-time.Hour).Unix()).with("iss", "other"),
		"expired, and not yet too": goodClaims.with("exp", noon.Add(-time.Hour).Unix()).with("nbf", noon.Add(time.Hour).Unix()),
	} {
		tokens[name] = forge(t, goodHeader, claims, goodKey)
	}
	for key, text := range map[string]string{
		"another key": strings.Repeat("C", secretBytes), "no key": "", "the id": "one", "the encoded key": secret(1), "a shorter key": goodKey[1:],
	} {
		tokens["signed with "+key] = forge(t, goodHeader, goodClaims, text)
	}
	for name, token := range tokens {
		t.Run(name, func(t *testing.T) {
			principal, err := keySet.Verify(token, noon)
			if name == "exp is 0" {
				requireCode(t, err, errcode.UnauthorizedExpired)
			} else {
				requireCode(t, err, errcode.UnauthorizedToken)
			}
			require.Zero(t, principal)
			requireNoSecret(t, fmt.Sprintf("%v %+v", err, err))
			if len(token) > 20 {
				require.NotContains(t, err.Error(), token[len(token)-10:])
			}
		})
	}
}

// malleable changes bits of the signature that only strict decoding checks.
func malleable(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, token[len(token)-1])
	return token[:len(token)-1] + string(alphabet[last^1])
}

func forgeRaw(header, claims string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	mac := hmac.New(sha256.New, []byte(goodKey))
	_, _ = mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Every other algorithm of the library is rejected, even with a valid signature by
// the secret of the key set or by a key of the attacker.
func TestOtherAlgorithms(t *testing.T) {
	keySet := keySetOf(t, "keys:\n"+entry("one", 1, noon))
	ofRSA, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	keys := map[string]any{"HS384": []byte(goodKey), "HS512": []byte(goodKey), "none": jwt.UnsafeAllowNoneSignatureType}
	for _, name := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"} {
		keys[name] = ofRSA
	}
	for name, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		keys[name], err = ecdsa.GenerateKey(curve, rand.Reader)
		require.NoError(t, err)
	}
	_, keys["EdDSA"], err = ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	others := slices.DeleteFunc(jwt.GetAlgorithms(), func(name string) bool { return name == algorithm })
	for _, name := range others {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, keys, name)
			token := jwt.NewWithClaims(jwt.GetSigningMethod(name), jwt.MapClaims(goodClaims))
			token.Header["kid"] = "one"
			signed, err := token.SignedString(keys[name])
			require.NoError(t, err)
			_, err = keySet.Verify(signed, noon)
			requireCode(t, err, errcode.UnauthorizedToken)
		})
	}
	require.True(t, crypto.SHA384.Available(), "otherwise HS384 fails for another reason")
}

// The clocks of two services may differ by 30 s.
func TestClockSkew(t *testing.T) {
	keySet := keySetOf(t, "keys:\n"+entry("one", 1, noon.Add(-time.Hour)))
	token, err := keySet.Sign("demo", nil, noon)
	require.NoError(t, err)
	for _, c := range []struct {
		at   time.Duration
		code errcode.Code
	}{
		{-31 * time.Second, errcode.UnauthorizedToken}, {-30 * time.Second, 0}, {0, 0}, {time.Hour, 0}, {time.Hour + 29*time.Second, 0},
		{time.Hour + 31*time.Second, errcode.UnauthorizedExpired}, {1000 * time.Hour, errcode.UnauthorizedExpired},
	} {
		t.Run(c.at.String(), func(t *testing.T) {
			_, err := keySet.Verify(token, noon.Add(c.at))
			if c.code == 0 {
				require.NoError(t, err)
				return
			}
			requireCode(t, err, c.code)
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	keySet := keySetOf(b, "keys:\n"+entry("one", 1, noon))
	token, err := keySet.Sign("demo", []string{ScopeWrite}, noon)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := keySet.Verify(token, noon); err != nil {
			b.Fatal(err)
		}
	}
}
