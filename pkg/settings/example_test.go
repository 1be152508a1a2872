package settings

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type exampleConfig struct {
	Server   serverConfig
	Database databaseConfig
}

// Load reads an example back as the same settings, but for the secrets.
func TestExample(t *testing.T) {
	config := exampleConfig{
		Server: serverConfig{
			RunMode: "release", HTTPPort: 8081, ReadTimeout: time.Hour, Offset: -90 * time.Second,
			Origins: []string{"http://a", "b: #c"}, Small: -1, Size: 2, Ratio: 0.5, TLS: true,
		},
		Database: databaseConfig{Username: `a "b"`, Password: "hidden"},
	}
	text, err := Example(&config)
	require.NoError(t, err)
	require.NotContains(t, text, "hidden")
	require.Contains(t, text, "Server:\n  # debug or release\n  RunMode: \"release\"\n  # port to serve on\n  HttpPort: 8081\n")
	require.Contains(t, text, "  ReadTimeout: 1h\n")
	require.Contains(t, text, "\n\nDatabase:\n  # the account\n")

	file := filepath.Join(t.TempDir(), "example.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	var read exampleConfig
	require.NoError(t, Load(&read, Source{File: file}))
	config.Database.Password = ""
	require.Equal(t, config, read)
}

func TestExampleMarksLiveSettings(t *testing.T) {
	text, err := Example(&liveConfig{})
	require.NoError(t, err)
	require.Contains(t, text, "  # requests per second (live)\n  Rate: 0\n")
	require.Contains(t, text, "  # memory\n  Total: 0\n")
}

func TestDurationsInExamplesAreShort(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0s": 0, "1.5s": 1500 * time.Millisecond, "10s": 10 * time.Second, "1m": time.Minute, "10m20s": 620 * time.Second, "24h": 24 * time.Hour, "1h30m": 90 * time.Minute,
	} {
		require.Equal(t, want, shortDuration(d))
	}
}

func TestLongCommentsAreBroken(t *testing.T) {
	require.Equal(t, "# a b\n", comment("a b", "# "))
	require.Empty(t, comment("", "# "))
	word := strings.Repeat("x", 50)
	require.Equal(t, "# "+word+"\n# "+word+" end\n", comment(word+" "+word+" end", "# "))
}
