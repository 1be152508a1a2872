package auth

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/settings"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	goleak.VerifyTestMain(m)
}

const patience = time.Minute

// noon is the current time in tests with a fixed time.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// secret returns the encoded secret of the key with the given number.
func secret(n byte) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune('A'+n)), secretBytes)))
}

// entry returns the text of a key in a file.
func entry(id string, n byte, signsFrom time.Time) string {
	return fmt.Sprintf("  - {id: %q, secret: %q, signs_from: %s}\n", id, secret(n), signsFrom.Format(time.RFC3339))
}

func write(t testing.TB, file, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file+".new", []byte(content), 0o600))
	require.NoError(t, os.Rename(file+".new", file))
}

func keySetAt(t testing.TB, file string) *KeySet {
	t.Helper()
	config := Default()
	config.KeysFile = file
	keySet, err := OpenKeySet(config)
	require.NoError(t, err)
	return keySet
}

func keySetOf(t testing.TB, content string) *KeySet {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys.yaml")
	write(t, file, content)
	return keySetAt(t, file)
}

// watch runs keySet.Watch until the end of the test.
func watch(t *testing.T, keySet *KeySet) *observer.ObservedLogs {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- keySet.Watch(ctx, zap.New(core)) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	require.Eventually(t, func() bool { return logs.Len() > 0 }, patience, time.Millisecond)
	return logs
}

// eventually waits until the key set has exactly these keys.
func (k *KeySet) eventually(t *testing.T, ids ...string) {
	t.Helper()
	require.Eventually(t, func() bool { return fmt.Sprint(k.keys.Load().ids()) == fmt.Sprint(ids) }, patience, 5*time.Millisecond)
}

func textOf(logs *observer.ObservedLogs) string {
	var text strings.Builder
	for _, e := range logs.All() {
		_, _ = fmt.Fprintln(&text, e.Level, e.Message, e.ContextMap())
	}
	return text.String()
}

func requireCode(t testing.TB, err error, code errcode.Code) {
	t.Helper()
	var coded *errcode.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, code, coded.Code)
}

// The newest active key signs, regardless of the order in the file.
func TestNewestActiveKeySigns(t *testing.T) {
	keySet := keySetOf(t, "keys:\n"+entry("later", 1, noon.Add(time.Hour))+entry("now", 2, noon)+entry("before", 3, noon.Add(-time.Hour)))
	for at, want := range map[time.Time]string{
		noon.Add(-time.Second): "before", noon: "now", noon.Add(time.Hour - time.Second): "now", noon.Add(time.Hour): "later", noon.AddDate(9, 0, 0): "later",
	} {
		token, err := keySet.Sign("app", nil, at)
		require.NoError(t, err)
		require.Contains(t, decoded(t, token, 0), `"kid":"`+want+`"`)
		_, err = keySet.Verify(token, at)
		require.NoError(t, err)
	}
	_, err := keySet.Sign("app", nil, noon.Add(-2*time.Hour))
	requireCode(t, err, errcode.UnauthorizedGenerate)
}

// A key set without an active key is loaded, and one warning is logged.
func TestNoActiveKey(t *testing.T) {
	for signsFrom, warnings := range map[time.Duration]int{time.Hour: 1, -time.Hour: 0} {
		core, logs := observer.New(zapcore.WarnLevel)
		keySetOf(t, "keys:\n"+entry("one", 1, time.Now().Add(signsFrom))).warnIfInactive(zap.New(core))
		require.Equal(t, warnings, logs.FilterMessageSnippet("no key is active yet").Len())
	}
	logs := watch(t, keySetOf(t, "keys:\n"+entry("one", 1, time.Now().Add(time.Hour))))
	require.Eventually(t, func() bool { return logs.FilterMessageSnippet("no key is active yet").Len() == 1 }, patience, time.Millisecond)
}

// Without a key set every token is rejected, and one warning is logged.
func TestNoKeySet(t *testing.T) {
	keySet, err := OpenKeySet(Default())
	require.NoError(t, err)
	_, err = keySet.Sign("app", []string{ScopeWrite}, noon)
	requireCode(t, err, errcode.UnauthorizedGenerate)
	token, err := keySetOf(t, GenerateKeySet(noon)).Sign("app", []string{ScopeWrite}, noon)
	require.NoError(t, err)
	for _, token := range []string{token, "", "a.b.c"} {
		_, err = keySet.Verify(token, noon)
		requireCode(t, err, errcode.UnauthorizedToken)
	}
	logs := watch(t, keySet)
	require.Equal(t, 1, logs.FilterMessageSnippet("every token is rejected").Len())
	require.Contains(t, logs.All()[0].Message, "Auth.KeysFile")
}

// Errors name the problem of a key set, but do not quote it.
func TestInvalidKeySets(t *testing.T) {
	good := entry("one", 1, noon)
	short := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("B", secretBytes-1)))
	for name, c := range map[string]struct{ content, want string }{
		"empty":             {"", "no keys"},
		"no list":           {"keys:\n", "no key"},
		"an empty list":     {"keys: []", "no keys"},
		"a secret alone":    {secret(1), "line 1"},
		"no YAML":           {"keys:\n  - id: one\n    secret: \"" + secret(1) + "\n", "line"},
		"an anchor":         {"keys:\n  - *" + secret(1)[:20], "line"},
		"a map":             {"keys: {one: " + secret(1) + "}", "line 1"},
		"keys are texts":    {"keys:\n  - " + secret(1), "line 2"},
		"unknown field":     {"keys:\n  - {id: one, secrets: " + secret(1) + "}", "line 2"},
		"a secret as name":  {"keys:\n  - {" + secret(1)[:30] + ": one}", "line 2"},
		"a list for secret": {"keys:\n  - {id: one, secret: [" + secret(1) + "]}", "line 2"},
		"no time":           {"keys:\n  - {id: one, secret: \"" + secret(1) + "\"}", "signs_from of the key one is not a time"},
		"invalid time":      {"keys:\n  - {id: one, secret: \"" + secret(1) + "\", signs_from: tomorrow}", "signs_from of the key one is not a time"},
		"two documents":     {"keys:\n" + good + "---\nkeys:\n" + entry("two", 2, noon), "more than one YAML document"},
		"no id":             {"keys:\n" + good + "  - {secret: \"" + secret(2) + "\"}", "key number 2 is invalid"},
		"a blank in the id": {"keys:\n" + entry("a b", 2, noon), "key number 1 is invalid"},
		"a long id":         {"keys:\n" + entry(strings.Repeat("a", 65), 2, noon), "key number 1 is invalid"},
		"the same id twice": {"keys:\n" + good + entry("one", 2, noon), "two keys have the id one"},
		"a short secret":    {"keys:\n" + good + "  - {id: two, secret: " + short + ", signs_from: 2026-11-21T20:00:00Z}", "the secret of the key two has 31 bytes, but needs 32"},
		"no secret":         {"keys:\n  - {id: two, signs_from: 2026-11-21T20:00:00Z}", "the secret of the key two has 0 bytes"},
		"not base64":        {"keys:\n  - {id: two, secret: \"" + secret(2)[:43] + "!\", signs_from: 2026-11-21T20:00:00Z}", "the secret of the key two is not base64"},
		"large file":        {strings.Repeat("#\n", maxFileSize), "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			config := Default()
			config.KeysFile = filepath.Join(t.TempDir(), "keys.yaml")
			write(t, config.KeysFile, c.content)
			_, err := OpenKeySet(config)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, config.KeysFile)
			require.NotContains(t, err.Error(), "\n")
			requireNoSecret(t, err.Error())
			if len(c.content) < maxFileSize {
				_, err = RotateKeySet([]byte(c.content), noon, 0, 0)
				require.ErrorContains(t, err, c.want)
			}
		})
	}
	config := Default()
	config.KeysFile = filepath.Join(t.TempDir(), "none.yaml")
	_, err := OpenKeySet(config)
	require.ErrorContains(t, err, "none.yaml cannot be read: no such file or directory; mount it, or create one with: article key new")
	config.KeysFile = t.TempDir()
	_, err = OpenKeySet(config)
	require.ErrorContains(t, err, "is a directory")
}

// requireNoSecret requires that text contains no part of a secret, encoded or not.
func requireNoSecret(t testing.TB, text string) {
	t.Helper()
	for n := range byte(6) {
		require.NotContains(t, text, secret(n)[:8])
		require.NotContains(t, text, strings.Repeat(string(rune('A'+n)), 8))
	}
}

// YAML and JSON are equivalent. Ids that look like dates are strings.
func TestKeySetFormats(t *testing.T) {
	for name, content := range map[string]string{
		"YAML":           "keys:\n  - id: \"2026-11-21\"\n    secret: " + secret(1) + "\n    signs_from: 2026-11-21T12:00:00Z\n",
		"without quotes": "keys:\n  - id: 2026-11-21\n    secret: " + secret(1) + "\n    signs_from: \"2026-11-21T12:00:00Z\"\n",
		"another zone":   "keys:\n  - id: 2026-11-21\n    secret: " + secret(1) + "\n    signs_from: 2026-11-21T13:00:00+01:00\n",
		"JSON":           `{"keys":[{"id":"2026-11-21","secret":"` + secret(1) + `","signs_from":"2026-11-21T12:00:00Z"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			parsed, err := parse([]byte(content))
			require.NoError(t, err)
			require.Len(t, parsed, 1)
			require.Equal(t, "2026-11-21", parsed[0].id)
			require.Equal(t, strings.Repeat("B", secretBytes), string(parsed[0].secret()))
			require.True(t, noon.Equal(parsed[0].signsFrom))
		})
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	keySet := keySetOf(t, "keys:\n"+entry("one", 1, noon))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, value := range []any{keySet, keySet.keys.Load(), *keySet.keys.Load(), (*keySet.keys.Load())[0]} {
			text := fmt.Sprintf(verb, value)
			requireNoSecret(t, text)
			require.NotContains(t, text, "42424242")
			require.NotContains(t, text, "66 66 66")
		}
	}
}

func TestInvalidFileKeepsTheKeySet(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.yaml")
	write(t, file, "keys:\n"+entry("one", 1, noon))
	keySet := keySetAt(t, file)
	token, err := keySet.Sign("app", nil, noon)
	require.NoError(t, err)
	logs := watch(t, keySet)
	registry := prometheus.NewRegistry()
	keySet.Register(registry)
	reloaded := func() float64 { return metric(t, registry, "achilles_key_set_last_reload_successful") }
	require.Equal(t, 1.0, reloaded())
	for i, broken := range []string{"", "keys:\n" + entry("one", 1, noon) + entry("one", 2, noon), "keys: " + secret(3)} {
		write(t, file, broken)
		require.Eventually(t, func() bool { return logs.FilterMessageSnippet("is invalid").Len() == i+1 }, patience, 5*time.Millisecond, "%s", textOf(logs))
		core, again := observer.New(zapcore.DebugLevel)
		keySet.reload(zap.New(core)) // as poll does
		require.Zero(t, again.Len(), "the same error is logged once")
		require.Zero(t, reloaded(), "a restart would fail")
		_, err := keySet.Verify(token, noon)
		require.NoError(t, err)
		_, err = keySet.Sign("app", nil, noon)
		require.NoError(t, err)
	}
	require.NoError(t, os.Remove(file))
	keySet.reload(zap.NewNop())
	keySet.eventually(t, "one")
	require.Zero(t, reloaded(), "the file is missing")
	write(t, file, "keys:\n"+entry("one", 1, noon)+entry("two", 2, noon.Add(time.Hour)))
	keySet.eventually(t, "one", "two")
	require.Eventually(t, func() bool { return reloaded() == 1 }, patience, 5*time.Millisecond)
	require.Equal(t, 2.0, metric(t, registry, "achilles_key_set_keys"))
	require.Equal(t, 3, logs.FilterMessageSnippet("is invalid").Len(), "each error is logged once")
	requireNoSecret(t, textOf(logs))
}

func metric(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// Only keys whose time has come are active.
func TestActiveKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.yaml")
	write(t, file, "keys:\n"+entry("one", 1, time.Now().Add(-time.Hour))+entry("two", 2, time.Now().Add(time.Hour)))
	registry := prometheus.NewRegistry()
	keySetAt(t, file).Register(registry)
	require.Equal(t, 1.0, metric(t, registry, "achilles_key_set_active_keys"))
	require.Equal(t, 2.0, metric(t, registry, "achilles_key_set_keys"))
}

// Kubernetes mounts a Secret as keys.yaml -> ..data/keys.yaml, ..data -> ..2026_01.
// An update creates a new directory and replaces ..data.
func TestMountedSecret(t *testing.T) {
	dir := t.TempDir()
	publish := func(version, content string) {
		t.Helper()
		require.NoError(t, os.Mkdir(filepath.Join(dir, version), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, version, "keys.yaml"), []byte(content), 0o600))
		require.NoError(t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
		old, _ := os.Readlink(filepath.Join(dir, "..data"))
		require.NoError(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		if old != "" {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, old)))
		}
	}
	content := "keys:\n" + entry("one", 1, noon)
	publish("..2026_01", content)
	file := filepath.Join(dir, "keys.yaml")
	require.NoError(t, os.Symlink(filepath.Join("..data", "keys.yaml"), file))
	article, tag := keySetAt(t, file), keySetAt(t, file)
	logs := watch(t, article)
	watch(t, tag)
	for i, want := range [][]string{{"one", "two"}, {"one", "two", "three"}} {
		content += entry(want[len(want)-1], byte(i+2), noon.Add(time.Duration(i+1)*time.Hour))
		publish(fmt.Sprint("..2026_1", i), content)
		article.eventually(t, want...)
		tag.eventually(t, want...)
	}
	require.Equal(t, 2, logs.FilterMessage("key set reloaded").Len(), "%s", textOf(logs))
	requireNoSecret(t, textOf(logs))
}

// A change between OpenKeySet and Watch is not lost.
func TestChangeBeforeWatch(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.yaml")
	write(t, file, "keys:\n"+entry("one", 1, noon))
	keySet := keySetAt(t, file)
	write(t, file, "keys:\n"+entry("one", 1, noon)+entry("two", 2, noon))
	watch(t, keySet)
	require.Eventually(t, func() bool { return len(*keySet.keys.Load()) == 2 }, pollInterval/2, time.Millisecond, "earlier than by polling")
}

// A change without a notification is detected by polling.
func TestPolling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "keys.yaml")
		write(t, file, "keys:\n"+entry("one", 1, noon))
		keySet := keySetAt(t, file)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go keySet.poll(ctx, zap.NewNop())
		write(t, file, "keys:\n"+entry("one", 1, noon)+entry("two", 2, noon))
		time.Sleep(pollInterval)
		synctest.Wait()
		require.Equal(t, []string{"one", "two"}, keySet.keys.Load().ids())
	})
}

// clock is a settable clock.
type clock struct{ now atomic.Pointer[time.Time] }

func (c *clock) set(now time.Time) { c.now.Store(&now) }
func (c *clock) time() time.Time   { return *c.now.Load() }

// Keys rotate while two replicas of the article service sign and all services
// verify: no token is rejected before it expires. The test only assumes what --in
// and --keep guarantee: that every service has read the file before the new key
// signs.
func TestRotationUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out what takes seconds")
	}
	file := filepath.Join(t.TempDir(), "keys.yaml")
	var now clock
	now.set(noon)
	content := GenerateKeySet(noon)
	write(t, file, content)
	keySets := []*KeySet{keySetAt(t, file), keySetAt(t, file), keySetAt(t, file)}
	for _, keySet := range keySets {
		watch(t, keySet)
	}

	stop := make(chan struct{})
	var workers sync.WaitGroup
	var verified atomic.Int64
	failures := make(chan error, 1)
	for i := range 6 {
		workers.Go(func() {
			var held []string // older tokens, which must stay valid for their lifetime
			var heldSince time.Time
			for {
				select {
				case <-stop:
					return
				default:
				}
				at := now.time()
				token, err := keySets[i%2].Sign("app", []string{ScopeWrite}, at)
				if at.Sub(heldSince) >= time.Hour {
					held, heldSince = nil, at
				}
				if len(held) < 20 {
					held = append(held, token)
				}
				for _, token := range append([]string{token}, held...) {
					for _, keySet := range keySets {
						if err == nil {
							_, err = keySet.Verify(token, at)
						}
						verified.Add(1)
					}
				}
				if err != nil {
					select {
					case failures <- fmt.Errorf("at %s: %w", at, err):
					default:
					}
					return
				}
			}
		})
	}

	signed := map[string]bool{}
	for range 8 {
		var err error
		content, err = RotateKeySet([]byte(content), now.time(), 10*time.Minute, 24*time.Hour)
		require.NoError(t, err)
		want, err := parse([]byte(content))
		require.NoError(t, err)
		write(t, file, content)
		for _, keySet := range keySets {
			keySet.eventually(t, want.ids()...)
		}
		for range 20 { // a rotation every two and a half days
			now.set(now.time().Add(3 * time.Hour))
			used, _ := keySets[0].keys.Load().signing(now.time())
			signed[used.id] = true
			enough := verified.Load() + 10
			require.Eventually(t, func() bool { return verified.Load() >= enough || len(failures) > 0 }, patience, time.Millisecond)
		}
	}
	close(stop)
	workers.Wait()
	select {
	case err := <-failures:
		require.NoError(t, err)
	default:
	}
	require.Greater(t, verified.Load(), int64(1000))
	require.Len(t, signed, 8, "every key has signed")
	require.LessOrEqual(t, len(*keySets[0].keys.Load()), 3, "old keys are removed")
}

// Without the delay of --in a token is rejected: TestRotationUnderLoad can fail.
func TestRotationWithoutDelay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.yaml")
	content := GenerateKeySet(noon)
	write(t, file, content)
	article, tag := keySetAt(t, file), keySetAt(t, file)
	content, err := RotateKeySet([]byte(content), noon, 0, 24*time.Hour)
	require.NoError(t, err)
	write(t, file, content)
	article.reload(zap.NewNop())
	token, err := article.Sign("app", nil, noon)
	require.NoError(t, err)
	_, err = tag.Verify(token, noon)
	requireCode(t, err, errcode.UnauthorizedToken)
	tag.reload(zap.NewNop())
	_, err = tag.Verify(token, noon)
	require.NoError(t, err)
}

func TestGenerateKeySet(t *testing.T) {
	one, other := GenerateKeySet(noon), GenerateKeySet(noon)
	require.NotEqual(t, one, other, "every key set has a different secret")
	parsed, err := parse([]byte(one))
	require.NoError(t, err)
	require.Equal(t, []string{"2026-11-21"}, parsed.ids())
	require.Len(t, string(parsed[0].secret()), secretBytes)
	_, signs := parsed.signing(noon.Add(-time.Hour))
	require.True(t, signs, "the key is active even if the clock is behind")
}

func TestRotateKeySet(t *testing.T) {
	content := "keys:\n" + entry("one", 1, noon.AddDate(0, 0, -30)) + entry("two", 2, noon.Add(-25*time.Hour)) + entry("three", 3, noon.Add(-24*time.Hour))
	rotated, err := RotateKeySet([]byte(content), noon, 10*time.Minute, 24*time.Hour)
	require.NoError(t, err)
	parsed, err := parse([]byte(rotated))
	require.NoError(t, err)
	require.Equal(t, []string{"two", "three", "2026-11-21"}, parsed.ids(), "one stopped signing 25 h ago, two 24 h ago")
	require.Equal(t, strings.Repeat("C", secretBytes), string(parsed[0].secret()), "remaining keys keep their secrets")
	require.Equal(t, noon.Add(-25*time.Hour), parsed[0].signsFrom)
	require.Equal(t, noon.Add(10*time.Minute), parsed[2].signsFrom)

	again, err := RotateKeySet([]byte(rotated), noon, 0, 0)
	require.NoError(t, err)
	parsed, err = parse([]byte(again))
	require.NoError(t, err)
	require.Equal(t, []string{"three", "2026-11-21-2", "2026-11-21"}, parsed.ids(), "ids are unique, keys are sorted by time")
	require.Len(t, string(parsed[1].secret()), secretBytes)
	require.NotEqual(t, string(parsed[1].secret()), string(parsed[2].secret()))

	// The signing key is never removed, however old it is.
	late, err := RotateKeySet([]byte("keys:\n"+entry("one", 1, noon)), noon.AddDate(5, 0, 0), time.Hour, time.Hour)
	require.NoError(t, err)
	require.Contains(t, late, `"one"`)
}

func TestConfig(t *testing.T) {
	config := Default()
	require.NoError(t, settings.Validate(&config))
	require.Empty(t, config.KeysFile, "there is no default key")
	for _, c := range []struct {
		key    string
		change func(*Config)
	}{
		{"Issuer", func(c *Config) { c.Issuer = "" }},
		{"Audience", func(c *Config) { c.Audience = "" }},
		{"Lifetime", func(c *Config) { c.Lifetime = 59 * time.Second }},
		{"Lifetime", func(c *Config) { c.Lifetime = 25 * time.Hour }},
		{"Lifetime", func(c *Config) { c.Lifetime = 90*time.Second + 1 }},
		{"ClockSkew", func(c *Config) { c.ClockSkew = 6 * time.Minute }},
		{"ClockSkew", func(c *Config) { c.ClockSkew = -1 }},
	} {
		config := Default()
		c.change(&config)
		require.ErrorContains(t, settings.Validate(&config), c.key)
	}
}
