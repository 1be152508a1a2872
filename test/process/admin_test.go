package process_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/process"
)

// adminPage returns a page of the admin listener, also in HTML.
func adminPage(t *testing.T, p *process.Process, path, accept string) string {
	t.Helper()
	answer, err := process.AskWith(http.Header{"Accept": {accept}, "Authorization": nil}, "GET", "http://"+p.AdminAddr(t)+path, nil)
	require.NoError(t, err)
	require.Contains(t, []int{200, 503}, answer.Status, path) // it may be unready
	return string(answer.Body)
}

var secretSetting = regexp.MustCompile(`(?m)^  ([A-Za-z.]+): .*\(environment or file only; ACHILLES_\w+\)$`)

// Each secret setting is set, once by the environment and once by a file. No page of the
// admin listener shows one, also not while the dependencies fail for which they are.
func TestAdminPagesShowNoSecrets(t *testing.T) {
	for _, source := range []string{"environment variable ACHILLES_", "file "} {
		t.Run(source, func(t *testing.T) {
			each(t, func(t *testing.T, program string, settings process.Settings) {
				help, exit := process.Run(t, program, nil, "serve", "--help")
				require.Zero(t, exit)
				settings = settings.With(process.Settings{
					"Redis.Addresses": closedAddr, "Redis.MasterName": "blog", "Health.CheckInterval": "100ms", "Health.StaleAfter": "1h",
				})
				shown := map[string]string{}
				for n, found := range secretSetting.FindAllStringSubmatch(help.Stdout(), -1) {
					key, secret := found[1], fmt.Sprintf("hush-%d-0123456789-0123456789-0123456789", n)
					delete(settings, key)
					shown[key] = source + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
					if source != "file " {
						settings[key] = secret
						continue
					}
					file := filepath.Join(t.TempDir(), "secret")
					require.NoError(t, os.WriteFile(file, []byte(secret), 0o600))
					settings[key+"File"], shown[key] = file, source+file
				}
				require.GreaterOrEqual(t, len(shown), 4, "there are secrets: %v", shown)

				process.Migrate(t, program, settings)
				cmd := process.Command(t, program, settings, "serve")
				cmd.Env = append(cmd.Env, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+closedAddr, "OTEL_EXPORTER_OTLP_HEADERS=Authorization=hush")
				p := process.StartCommand(t, cmd)
				p.AwaitLog(t, "dependency down")
				p.AwaitLog(t, "Redis client")
				require.Empty(t, p.Stderr(), "libraries write to the log")
				requireExplained(t, p, shown)
				keys, err := os.ReadFile(process.KeysFile())
				require.NoError(t, err)
				hidden := append(regexp.MustCompile(`secret: *(\S+)`).FindAllString(string(keys), -1), "hush")
				require.Greater(t, len(hidden), 1)
				for _, path := range []string{"/statusz", "/configz", "/readyz", "/version", "/metrics", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2"} {
					for _, accept := range []string{"text/html", "application/json"} {
						text := adminPage(t, p, path, accept)
						for _, secret := range hidden {
							require.NotContains(t, text, strings.TrimPrefix(secret, "secret: "), "%s as %s", path, accept)
						}
					}
				}
			})
		})
	}
}

// requireExplained requires that the page of the configuration names the source of each
// secret.
func requireExplained(t *testing.T, p *process.Process, sources map[string]string) {
	t.Helper()
	var page struct {
		Settings []struct{ Setting, Value, Source string }
	}
	require.NoError(t, json.Unmarshal([]byte(adminPage(t, p, "/configz", "*/*")), &page))
	found := map[string]string{}
	for _, set := range page.Settings {
		if sources[set.Setting] != "" {
			found[set.Setting] = set.Source
			require.Equal(t, "******", set.Value, set.Setting)
		}
	}
	require.Equal(t, sources, found)
}

// The pages tell what the service does, and are on no other listener.
func TestAdminPages(t *testing.T) {
	p := newPair(t, sqlite, nil)
	tag := create(t, p.tag, "/api/v1/tags", newTag("shown"))
	create(t, p.article, "/api/v1/articles", newArticle("shown", tag))
	process.Await(t, "the article service to follow", func() bool { return followed(t, p.article, 1) })
	for server, wants := range map[*process.Process][]string{
		p.tag:     {"feed tags\n1\n", "state\nready\n", "Feed.Token\n******\nenvironment variable ACHILLES_FEED_TOKEN\n"},
		p.article: {"feed public\n1\n", "feed all\n1\n", "achilles_tag_feed_lag_changes\n0\n", "achilles_tag_feed_offset\n1\n"},
	} {
		page := adminPage(t, server, "/statusz", "text/html")
		text := regexp.MustCompile(`\s*<[^>]*>\s*`).ReplaceAllString(page, "\n")
		text = regexp.MustCompile(`\n+`).ReplaceAllString(text, "\n")
		for _, want := range wants {
			require.Contains(t, text, want)
		}
		for _, path := range []string{"/statusz", "/configz", "/debug/slow", "/debug/pprof/"} {
			require.Equal(t, 404, ask(t, server, "GET", path, nil).Status, "%s on the public port", path)
		}
	}
}
