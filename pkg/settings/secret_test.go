package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.yaml.in/yaml/v3"
)

const hidden = "hunter2"

func TestSecretIsNeverShown(t *testing.T) {
	c := defaults()
	c.Database.Password = hidden
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10s", "%.3s", "%T %[1]v"} {
		for _, value := range []any{c.Database.Password, &c.Database, c, &c, []Secret{hidden}, map[string]Secret{"a": hidden}} {
			text := fmt.Sprintf(verb, value)
			require.NotContains(t, text, hidden, verb)
			require.NotContains(t, text, fmt.Sprintf("%x", hidden), verb)
			require.NotContains(t, text, "hun", verb)
		}
	}
	require.Equal(t, "******", fmt.Sprint(c.Database.Password))
	require.Equal(t, "", fmt.Sprint(Secret("")), "an empty secret is not masked")
	require.Equal(t, `"******"`, fmt.Sprintf("%#v", c.Database.Password))
	require.Equal(t, hidden, c.Database.Password.Reveal())

	asJSON, err := json.Marshal(map[string]any{"config": c, "empty": Secret("")})
	require.NoError(t, err)
	require.NotContains(t, string(asJSON), hidden)
	require.Contains(t, string(asJSON), `"Password":"******"`)
	require.Contains(t, string(asJSON), `"empty":""`)
	asYAML, err := yaml.Marshal(c)
	require.NoError(t, err)
	require.NotContains(t, string(asYAML), hidden)

	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "config", c, "secret", c.Database.Password)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "config", c, "secret", c.Database.Password)
	logger := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&log), zap.DebugLevel))
	logger.Info("x", zap.Any("config", c), zap.Any("secret", c.Database.Password), zap.Stringer("s", c.Database.Password))
	logger.Sugar().Infow("x", "config", c, "secret", c.Database.Password)
	require.NotContains(t, log.String(), hidden)
	require.Equal(t, 4, strings.Count(log.String(), "\n"))
}

// No error and no help text contains a secret.
func TestSecretInNoError(t *testing.T) {
	for name, test := range map[string]struct {
		yaml string
		env  []string
	}{
		"wrong type":        {yaml: "Database: {Password: [hunter2]}"},
		"map":               {yaml: "Database: {Password: {hunter2: hunter2}}"},
		"number":            {yaml: "Database: {Password: 12345}"},
		"anchor":            {yaml: "Database: {Password: *hunter2}"},
		"tag":               {yaml: "Database: {Password: !!int hunter2}"},
		"float tag":         {yaml: "Database: {Password: !!float hunter2 }"},
		"broken quotes":     {yaml: "Database:\n  Password: 'hunter2\n"},
		"colon":             {yaml: "Database:\n  Password: hunter2: x\n"},
		"percent":           {yaml: "Database:\n  Password: %hunter2\n"},
		"at":                {yaml: "Database:\n  Password: @hunter2\n"},
		"binary":            {yaml: "Database: {Password: !!binary hunter2}"},
		"misspelt key":      {yaml: "Database: {Pasword: hunter2}"},
		"misspelt section":  {yaml: "Databasse: {Password: hunter2}"},
		"misspelt variable": {env: []string{"ACHILLES_DATABASE_PASSWROD=hunter2"}},
		"both":              {yaml: "Database: {Password: hunter2, PasswordFile: /x}"},
		"validation":        {yaml: "Database: {Password: forbidden}"},
		"beside others":     {yaml: "Server: {HttpPort: x}", env: []string{"ACHILLES_DATABASE_PASSWORD=hunter2"}},
		"no space":          {yaml: "Database: {Password:hunter2}"},
		"equals sign":       {yaml: "Database: {Password=hunter2}"},
		"no space at all":   {yaml: "{Password:hunter2}"},
		"address":           {yaml: "Server: {HttpPort: 'redis://:hunter2@redis:6379'}"},
		"DSN":               {yaml: "Server: {HttpPort: 'root:hunter2@tcp(db:3306)/blog'}"},
		"list of addresses": {env: []string{"ACHILLES_SERVER_HTTPPORT=a:1,redis://:hunter2@b,redis://u:hun,te@r2@c"}},
		"unknown section":   {env: []string{"ACHILLES_DATABSE_PASSWORD=hunter2"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := load(t, test.yaml, test.env, nil)
			require.Error(t, err)
			for _, verb := range []string{"%v", "%+v", "%#v"} {
				for _, secret := range []string{hidden, "12345", "forbidden"} {
					require.NotContains(t, fmt.Sprintf(verb, err), secret)
				}
			}
		})
	}
}

func TestSecretIsNoFlag(t *testing.T) {
	for _, args := range [][]string{{"--database.password=" + hidden}, {"--database.password", hidden}, {"--Database.Password"}, {"--inner.key=" + hidden}} {
		c := struct {
			Database databaseConfig
			Inner    struct{ Key Secret }
		}{}
		fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
		BindFlags(fs, &c)
		err := fs.Parse(args)
		require.ErrorIs(t, err, ErrSecretFlag)
		require.NotContains(t, errors.Unwrap(err).Error(), hidden)
		want := "is not accepted: flags can be seen in the list of processes; set the environment variable ACHILLES_INNER_KEY"
		if !strings.HasPrefix(args[0], "--inner") {
			want = "is not accepted: flags can be seen in the list of processes; set the environment variable ACHILLES_DATABASE_PASSWORD, " +
				"or name a file that holds the secret with --database.passwordfile or ACHILLES_DATABASE_PASSWORDFILE"
		}
		require.EqualError(t, errors.Unwrap(err), want)
	}
}

func TestSecretFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		return file
	}
	for name, content := range map[string]string{"plain": "hunter2", "newline": "hunter2\n", "windows": "hunter2\r\n", "newlines": "hunter2\n\n"} {
		c, _, err := load(t, "Database: {PasswordFile: "+write("secret", content)+"}", nil, nil)
		require.NoError(t, err, name)
		require.Equal(t, hidden, c.Database.Password.Reveal(), name)
	}
	file := write("secret", " hun\nter2 \n")
	c, _, err := load(t, "-", []string{"ACHILLES_DATABASE_PASSWORDFILE=" + file}, nil)
	require.NoError(t, err)
	require.Equal(t, " hun\nter2 ", c.Database.Password.Reveal(), "nothing else is trimmed")

	c, _, err = load(t, "Database: {PasswordFile: "+file+"}", []string{"ACHILLES_DATABASE_PASSWORD=other"}, []string{"--database.passwordfile="})
	require.NoError(t, err, "an empty flag overrides the file")
	require.Equal(t, "other", c.Database.Password.Reveal())
	c, _, err = load(t, "Database: {Password: '', PasswordFile: "+write("other", hidden)+"}", nil, nil)
	require.NoError(t, err, "an empty secret is not set")
	require.Equal(t, hidden, c.Database.Password.Reveal())

	c = defaults()
	c.Database.Password = "default"
	require.NoError(t, Load(&c, Source{Environ: []string{"ACHILLES_DATABASE_PASSWORDFILE=" + file}}), "the file overrides the default")
	require.Equal(t, " hun\nter2 ", c.Database.Password.Reveal())

	for name, test := range map[string]struct{ file, want string }{
		"missing":   {filepath.Join(dir, "none"), "the file %s does not exist"},
		"directory": {dir, "the file %s is a directory, not a file"},
		"empty":     {write("empty", "\n"), "the file %s is empty: write the secret into it, or remove the setting"},
		"huge":      {write("huge", strings.Repeat("hunter2", 10_000)), "the file %s is longer than 65536 bytes: it cannot be a secret"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := load(t, "-", nil, []string{"--database.passwordfile", test.file})
			require.EqualError(t, err, "Database.PasswordFile: "+fmt.Sprintf(test.want, test.file)+" (from flag --database.passwordfile)")
		})
	}
	_, config, err := load(t, "Database: {PasswordFile: "+file+"}", []string{"ACHILLES_DATABASE_PASSWORD=hunter2"}, nil)
	require.EqualError(t, err, "Database.Password: is set, and so is Database.PasswordFile (from "+config+
		" line 1); keep one of them (from environment variable ACHILLES_DATABASE_PASSWORD)")
}
