package main

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/achilles-blog/achilles/test/devserver/claim"
)

// fixedSettings are the settings that make run sets for a service, as
// environment variables. An empty one overrides that of the environment.
func fixedSettings(database string, port, adminPort int) []string {
	return []string{
		"ACHILLES_CONFIG=",
		"ACHILLES_SERVER_HOST=127.0.0.1", fmt.Sprintf("ACHILLES_SERVER_HTTPPORT=%d", port),
		"ACHILLES_SERVER_ADMINHOST=127.0.0.1", fmt.Sprintf("ACHILLES_SERVER_ADMINPORT=%d", adminPort),
		"ACHILLES_SERVER_TRUSTEDPROXIES=127.0.0.1,::1",
		// The gateway has drained before the services are stopped.
		"ACHILLES_SERVER_DRAINDELAY=0",
		"ACHILLES_DATABASE_DBTYPE=sqlite", "ACHILLES_DATABASE_DBNAME=" + database,
		"ACHILLES_DATABASE_HOST=", "ACHILLES_DATABASE_USERNAME=", "ACHILLES_DATABASE_PASSWORD=",
		"ACHILLES_DATABASE_PASSWORDFILE=", "ACHILLES_DATABASE_TLS=",
		"ACHILLES_FEED_TOKENFILE=",
	}
}

// transferTimeout is how long an upload or a download may take.
const transferTimeout = time.Minute

// fileSettings are those of the storage of files, which is in the data directory.
func fileSettings(data *claim.Data) ([]string, error) {
	dir, err := filepath.Abs(data.Path("files"))
	if err != nil {
		return nil, err
	}
	address := url.URL{Scheme: "file", Path: dir}
	return []string{
		"ACHILLES_FILES_URL=" + address.String(), "ACHILLES_FILES_TIMEOUT=" + transferTimeout.String(),
		"ACHILLES_SERVER_SHUTDOWNTIMEOUT=" + gatewayShutdown.String(),
	}, nil
}

// defaultSettings are those that make run sets unless the environment does: rate
// limits that neither a person nor the demo reaches, a log for people, and CORS for
// pages of this machine.
func defaultSettings() []string {
	return []string{
		"ACHILLES_LIMITS_READPERSECOND=1000", "ACHILLES_LIMITS_READBURST=2000",
		"ACHILLES_LIMITS_SEARCHPERSECOND=200", "ACHILLES_LIMITS_SEARCHBURST=400",
		"ACHILLES_LIMITS_WRITEPERSECOND=1000", "ACHILLES_LIMITS_WRITEBURST=2000",
		"ACHILLES_LIMITS_AUTHPERMINUTE=60", "ACHILLES_LIMITS_AUTHBURST=60",
		"ACHILLES_SERVER_RUNMODE=debug",
		"ACHILLES_SERVER_CORSALLOWEDORIGINS=http://localhost:*,http://127.0.0.1:*",
	}
}

// configure sets the environment of the services, and names the settings that it
// ignores because make run sets them.
func (s *system) configure(ctx context.Context) error {
	known := map[*service]string{} // the help of a service, which names its settings
	for _, svc := range s.services {
		help, err := exec.CommandContext(ctx, svc.path, "serve", "--help").Output() // #nosec G204 -- the service that the caller names
		if err != nil {
			return failure(fmt.Sprintf("starting %s failed: %v; build it with: make build", svc.path, err))
		}
		known[svc] = string(help)
	}
	ignored := map[string]bool{}
	for _, svc := range s.services {
		svc.env = defaultSettings()
		for _, variable := range s.environ {
			name, value, _ := strings.Cut(variable, "=")
			switch {
			case slices.ContainsFunc(svc.settings, func(own string) bool { return strings.HasPrefix(own, name+"=") }):
				if value != "" {
					ignored[name] = true
				}
			case knows(known[svc], name) || !knownToAny(known, name):
				// The services reject a setting that none of them knows.
				svc.env = append(svc.env, variable)
			}
		}
		svc.env = append(svc.env, svc.settings...)
	}
	if len(ignored) > 0 {
		s.say("Ignored, because make run sets it itself: %s.\n", strings.Join(slices.Sorted(maps.Keys(ignored)), ", "))
	}
	return nil
}

func knownToAny(known map[*service]string, setting string) bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(known)), func(help string) bool { return knows(help, setting) })
}

// knows reports whether the help of a service names the setting.
func knows(help, setting string) bool { return strings.Contains(help, "; "+setting+")") }
