package idempotency_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
)

type body struct {
	Name  *string `json:"name"`
	State *int    `json:"state"`
}

func TestNewKey(t *testing.T) {
	long := strings.Repeat("k", idempotency.MaxKeyLength)
	for _, valid := range []string{"8e03978e-40d5-43dd-bc93-6894a57f9324", `"key"`, "k", "~ !", long} {
		key, err := idempotency.NewKey("app", valid, http.MethodPost, "/notes", body{})
		require.NoError(t, err, "%q", valid)
		require.Equal(t, "app", key.Client)
		require.Equal(t, valid, key.Value)
		require.False(t, key.IsZero())
	}
	for _, invalid := range []string{"", long + "k", "k\tey", "k\x7fey", "k\x00ey", "ключ", "k\xffey"} {
		key, err := idempotency.NewKey("app", invalid, http.MethodPost, "/notes", body{})
		coded := requireCode(t, errcode.InvalidParams, err)
		require.True(t, key.IsZero(), "%q", invalid)
		require.Len(t, coded.Details, 1)
		for _, locale := range []string{"zh", "en", "zh_Hant_TW"} {
			require.Contains(t, coded.Details[0].In(locale), "Idempotency-Key")
		}
	}
}

// Different pairs of client and key have different ids.
func TestID(t *testing.T) {
	ids := map[[32]byte]bool{}
	for _, pair := range [][2]string{{"app", "key"}, {"", "appkey"}, {"App", "key"}, {"app", "Key"}, {"app", "key "}, {"ap", "pkey"}} {
		ids[idempotency.Key{Client: pair[0], Value: pair[1]}.ID()] = true
	}
	require.Len(t, ids, 6)
}

func TestFingerprint(t *testing.T) {
	fingerprint := func(method, path string, bound any) [32]byte {
		key, err := idempotency.NewKey("app", "key", method, path, bound)
		require.NoError(t, err)
		return key.Fingerprint
	}
	bound := func(text string) (b body) {
		require.NoError(t, json.Unmarshal([]byte(text), &b))
		return b
	}
	first := fingerprint("POST", "/notes", bound(`{"name":"a","state":1}`))
	same := []any{
		bound(`{"state":1, "name":"\u0061", "unknown":7}`),
		// The next release has another field, in another order.
		struct {
			Slug  *string `json:"slug"`
			State int     `json:"state"`
			Name  string  `json:"name"`
		}{State: 1, Name: "a"},
	}
	for _, b := range same {
		require.Equal(t, first, fingerprint("POST", "/notes", b))
	}
	sums := map[[32]byte]bool{first: true}
	for _, sum := range [][32]byte{
		fingerprint("PUT", "/notes", bound(`{"name":"a","state":1}`)), fingerprint("POST", "/note", bound(`{"name":"a","state":1}`)),
		fingerprint("POST", "/notes", bound(`{"name":"b","state":1}`)), fingerprint("POST", "/notes", bound(`{"name":"a","state":0}`)),
		fingerprint("POST", "/notes", bound(`{"name":"a"}`)), fingerprint("POST", "/notes", bound(`{"name":""}`)), fingerprint("POST", "/notes", bound(`{}`)),
		fingerprint("POST", "/notes", bound(`{"name":"null"}`)), fingerprint("POSTS", "/note", bound(`{}`)),
	} {
		require.False(t, sums[sum])
		sums[sum] = true
	}
	_, err := idempotency.NewKey("app", "key", "POST", "/notes", make(chan int))
	require.ErrorContains(t, err, "/notes")
}

func requireCode(t *testing.T, code errcode.Code, err error) *errcode.Error {
	t.Helper()
	var coded *errcode.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, code, coded.Code)
	return coded
}

type list struct {
	Atomic *bool  `json:"atomic"`
	Notes  []body `json:"notes"`
}

// The fingerprint of a batch is that of what its items mean, in their order.
func TestFingerprintOfBatch(t *testing.T) {
	seen := map[[32]byte]string{}
	for _, text := range []string{
		`{"notes":[{"name":"a"},{"name":"b"}]}`, `{"notes":[{"name":"b"},{"name":"a"}]}`, `{"notes":[{"name":"a"}]}`, `{"notes":[{"name":"a"},{}]}`, `{"notes":[{},{"name":"a"}]}`,
		`{"notes":[{"name":"a","state":1}]}`, `{"notes":[{"name":"a"},{"state":1}]}`, `{"notes":[]}`, `{"atomic":true,"notes":[{"name":"a"}]}`, `{"notes":[{"name":"a } { \"name\" 1 b"}]}`,
	} {
		fingerprint := func() [32]byte { // at other addresses
			var batch list
			require.NoError(t, json.Unmarshal([]byte(text), &batch))
			key, err := idempotency.NewKey("app", "k", http.MethodPost, "/notes/batch", batch)
			require.NoError(t, err)
			return key.Fingerprint
		}
		require.Equal(t, fingerprint(), fingerprint())
		require.Empty(t, seen[fingerprint()], text)
		seen[fingerprint()] = text
	}
}

// The keys of items are those of no request and of no other item.
func TestKeysOfItems(t *testing.T) {
	key := idempotency.Key{Client: "app", Value: "k", Fingerprint: [32]byte{1}}
	ids := map[[32]byte]bool{key.ID(): true, idempotency.Key{Client: "app", Value: "k1"}.ID(): true}
	for i := range 100 {
		item := key.Item(i)
		require.Equal(t, key.Fingerprint, item.Fingerprint)
		ids[item.ID()] = true
	}
	ids[idempotency.Key{Client: "app", Value: "k1"}.Item(0).ID()] = true
	require.Len(t, ids, 103)
	require.True(t, idempotency.Key{}.Item(7).IsZero())
}
