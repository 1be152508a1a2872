package settings

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type serverConfig struct {
	RunMode     string        `mapstructure:"RunMode" usage:"debug or release"`
	HTTPPort    int           `mapstructure:"HttpPort" usage:"port to serve on"`
	ReadTimeout time.Duration `mapstructure:"ReadTimeout" usage:"time to read a request"`
	Offset      time.Duration `mapstructure:"Offset" usage:"may be negative" allow:"negative"`
	Origins     []string      `mapstructure:"Origins" usage:"allowed origins"`
	Small       int8          `mapstructure:"Small" usage:"a small number"`
	Size        uint16        `mapstructure:"Size" usage:"a size"`
	Ratio       float64       `mapstructure:"Ratio" usage:"a ratio"`
	TLS         bool          `mapstructure:"TLS" usage:"whether to encrypt"`
}

func (c serverConfig) Validate() error {
	var all []error
	if c.HTTPPort < 0 || c.HTTPPort > 65535 {
		all = append(all, Invalid("HttpPort", fmt.Sprint(c.HTTPPort), "a port from 0 to 65535"))
	}
	if c.RunMode != "debug" && c.RunMode != "release" {
		all = append(all, Invalid("RunMode", c.RunMode, "debug or release"))
	}
	return errors.Join(all...)
}

type databaseConfig struct {
	Username     string `mapstructure:"Username" usage:"the account"`
	Password     Secret `mapstructure:"Password" usage:"its password"`
	PasswordFile string `mapstructure:"PasswordFile" usage:"a file with the password"`
	unexported   string
}

// Validate reveals the secret on purpose: Load must mask it nevertheless.
func (c *databaseConfig) Validate() error {
	if c.Password == "forbidden" {
		return Invalid("Password", c.Password.Reveal(), "another one")
	}
	if c.Username == "odd" {
		return fmt.Errorf("is odd: %w and %w", errors.New("one"), errors.New("two"))
	}
	return nil
}

type innerConfig struct {
	Deep struct {
		Name string `mapstructure:"Name" usage:"a deep name"`
	} `mapstructure:"Deep"`
}

type config struct {
	Server   serverConfig   `mapstructure:"Server"`
	Database databaseConfig `mapstructure:"Database"`
	Redis    struct {
		Host string `mapstructure:"Host" usage:"the cache"`
		Port int    `mapstructure:"Port" usage:"a key that looks like a service's variable"`
	} `mapstructure:"Redis"`
	Inner innerConfig `mapstructure:"Inner"`
}

func (c config) Validate() error {
	if c.Server.ReadTimeout > time.Hour {
		return Invalid("Server.ReadTimeout", c.Server.ReadTimeout.String(), "at most 1h")
	}
	return nil
}

func defaults() config {
	c := config{Server: serverConfig{RunMode: "debug", HTTPPort: 8000, ReadTimeout: 15 * time.Second, Size: 1, Ratio: 0.5}}
	c.Database.unexported = "kept"
	return c
}

// load runs Load. It writes content to a file, whose path it returns, unless content is "-".
func load(t *testing.T, content string, environ, args []string) (config, string, error) {
	t.Helper()
	file := ""
	if content != "-" {
		file = filepath.Join(t.TempDir(), "config.yaml")
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	}
	return loadFile(t, file, environ, args)
}

func loadFile(t *testing.T, file string, environ, args []string) (config, string, error) {
	t.Helper()
	c := defaults()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	BindFlags(fs, &c)
	require.NoError(t, fs.Parse(args))
	err := Load(&c, Source{File: file, Flags: fs, Environ: environ})
	return c, file, err
}

func TestPrecedence(t *testing.T) {
	const file, env, flag = 1, 2, 4
	for sources := range 8 {
		t.Run(fmt.Sprintf("file=%t,env=%t,flag=%t", sources&file > 0, sources&env > 0, sources&flag > 0), func(t *testing.T) {
			content, environ, args := "-", []string{"PATH=/bin"}, []string(nil)
			port, origins, timeout, tls := 8000, []string(nil), 15*time.Second, false
			if sources&file > 0 {
				content = "Server:\n  HttpPort: 8001\n  Origins: [a, b]\n  ReadTimeout: 1\n  TLS: true\n"
				port, origins, timeout, tls = 8001, []string{"a", "b"}, time.Second, true
			}
			if sources&env > 0 {
				environ = append(environ, "ACHILLES_SERVER_HTTPPORT=8002", "ACHILLES_SERVER_ORIGINS=c, d,", "ACHILLES_SERVER_READTIMEOUT=2",
					"ACHILLES_SERVER_TLS=false")
				port, origins, timeout, tls = 8002, []string{"c", "d"}, 2*time.Second, false
			}
			if sources&flag > 0 {
				args = []string{"--server.httpport=8003", "--server.origins", "e", "--server.origins", "f,g", "--server.readtimeout=3", "--server.tls"}
				port, origins, timeout, tls = 8003, []string{"e", "f", "g"}, 3*time.Second, true
			}
			c, _, err := load(t, content, environ, args)
			require.NoError(t, err)
			require.Equal(t, port, c.Server.HTTPPort)
			require.Equal(t, origins, c.Server.Origins)
			require.Equal(t, timeout, c.Server.ReadTimeout)
			require.Equal(t, tls, c.Server.TLS)
			require.Equal(t, "debug", c.Server.RunMode, "other settings keep their defaults")
			require.Equal(t, "kept", c.Database.unexported)
		})
	}
}

// The error names the source whose value is used.
func TestErrorNamesTheSourceThatCounts(t *testing.T) {
	const content, env, flag = "Server: {HttpPort: a}", "ACHILLES_SERVER_HTTPPORT=b", "--server.httpport=c"
	_, _, err := load(t, content, []string{env}, []string{flag})
	require.EqualError(t, err, `Server.HttpPort: "c" is not allowed; it must be a whole number (from flag --server.httpport)`)
	_, _, err = load(t, content, []string{env}, nil)
	require.EqualError(t, err, `Server.HttpPort: "b" is not allowed; it must be a whole number (from environment variable ACHILLES_SERVER_HTTPPORT)`)
	_, file, err := load(t, "Server: {HttpPort: {a: 1}}", []string{"ACHILLES_SERVER_HTTPPORT=1"}, nil)
	require.EqualError(t, err, "Server.HttpPort: a section is not allowed; it must be a whole number (from "+file+" line 1)")
}

func TestZeroOverridesDefault(t *testing.T) {
	c, _, err := load(t, "Server: {HttpPort: 0, ReadTimeout: 0, Ratio: 0}", nil, []string{"--server.size=0"})
	require.NoError(t, err)
	require.Zero(t, c.Server.HTTPPort)
	require.Zero(t, c.Server.ReadTimeout)
	require.Zero(t, c.Server.Ratio)
	require.Zero(t, c.Server.Size)
}

func TestEmptyValues(t *testing.T) {
	c, _, err := load(t, "Redis:\n  Host: cache\nServer:\n  Origins: [a]\n", []string{"ACHILLES_REDIS_HOST=", "ACHILLES_SERVER_HTTPPORT="}, nil)
	require.NoError(t, err)
	require.Equal(t, "cache", c.Redis.Host, "an empty variable counts as not set")
	c, _, err = load(t, "Redis:\n  Host: cache\nServer:\n  Origins: [a]\n", nil, []string{"--redis.host=", "--server.origins="})
	require.NoError(t, err)
	require.Empty(t, c.Redis.Host, "an empty flag does set")
	require.Empty(t, c.Server.Origins)
	_, _, err = load(t, "-", nil, []string{"--server.httpport="})
	require.EqualError(t, err, `Server.HttpPort: "" is not allowed; it must be a whole number (from flag --server.httpport)`)
}

func TestCase(t *testing.T) {
	c, _, err := load(t, "server:\n  HTTPPORT: 9\nINNER:\n  deep:\n    name: x\n", nil, []string{"--Server.RunMode=release"})
	require.NoError(t, err)
	require.Equal(t, 9, c.Server.HTTPPort)
	require.Equal(t, "release", c.Server.RunMode)
	require.Equal(t, "x", c.Inner.Deep.Name)
	c, _, err = load(t, "Inner.Deep.Name: y", []string{"ACHILLES_INNER_DEEP_NAME=z"}, nil)
	require.NoError(t, err)
	require.Equal(t, "z", c.Inner.Deep.Name)
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"5": 5 * time.Second, "5s": 5 * time.Second, "1.5": 1500 * time.Millisecond, "0": 0, "1m30s": 90 * time.Second, "250ms": 250 * time.Millisecond,
		"0.1": 100 * time.Millisecond, ".5": 500 * time.Millisecond,
	} {
		for name, load := range map[string]func() (config, string, error){
			"file":   func() (config, string, error) { return load(t, "Server: {ReadTimeout: "+text+"}", nil, nil) },
			"quoted": func() (config, string, error) { return load(t, "Server: {ReadTimeout: '"+text+"'}", nil, nil) },
			"env": func() (config, string, error) {
				return load(t, "-", []string{"ACHILLES_SERVER_READTIMEOUT=" + text}, nil)
			},
			"flag": func() (config, string, error) { return load(t, "-", nil, []string{"--server.readtimeout=" + text}) },
		} {
			c, _, err := load()
			require.NoError(t, err, "%s %s", name, text)
			require.Equal(t, want, c.Server.ReadTimeout, "%s %s", name, text)
		}
	}
	for _, text := range []string{"-5", "-5s", "5 s", "soon", "1e400", "NaN", "Inf", "9223372037", "5x", "[5]", "{a: 1}", "true", "''", "2024-01-01"} {
		_, _, err := load(t, "Server: {ReadTimeout: "+text+"}", nil, nil)
		require.ErrorContains(t, err, "Server.ReadTimeout: ", text)
		require.ErrorContains(t, err, "is not allowed; it must be a duration such as 1m30s, not negative; a bare number is seconds", text)
	}
	c, _, err := load(t, "Server: {Offset: -5}", nil, nil)
	require.NoError(t, err)
	require.Equal(t, -5*time.Second, c.Server.Offset)
}

func TestTypes(t *testing.T) {
	c, _, err := load(t, "Server: {HttpPort: '81', Small: -128, Size: 65535, Ratio: 1e2, TLS: 'true', Origins: 'a,b'}", nil, nil)
	require.NoError(t, err)
	require.Equal(t, serverConfig{RunMode: "debug", HTTPPort: 81, ReadTimeout: 15 * time.Second, Small: math.MinInt8, Size: 65535,
		Ratio: 100, TLS: true, Origins: []string{"a", "b"}}, c.Server)

	for name, test := range map[string]struct{ yaml, want string }{
		"text for int":     {"Server: {HttpPort: http}", `Server.HttpPort: "http" is not allowed; it must be a whole number (from FILE line 1)`},
		"fraction for int": {"Server: {HttpPort: 80.5}", `Server.HttpPort: 80.5 is not allowed; it must be a whole number (from FILE line 1)`},
		"list for int":     {"Server: {HttpPort: [1]}", `Server.HttpPort: a list is not allowed; it must be a whole number (from FILE line 1)`},
		"section for int":  {"Server:\n  HttpPort:\n    a: 1", `Server.HttpPort: a section is not allowed; it must be a whole number (from FILE line 2)`},
		"bool for int":     {"Server: {HttpPort: true}", `Server.HttpPort: true is not allowed; it must be a whole number (from FILE line 1)`},
		"too large":        {"Server: {Small: 128}", `Server.Small: 128 is not allowed; it must be a whole number from -128 to 127 (from FILE line 1)`},
		"negative uint":    {"Server: {Size: -1}", `Server.Size: -1 is not allowed; it must be a whole number from 0 to 65535 (from FILE line 1)`},
		"huge":             {"Server: {HttpPort: 99999999999999999999}", `Server.HttpPort: 1e+20 is not allowed; it must be a whole number (from FILE line 1)`},
		"text for number":  {"Server: {Ratio: half}", `Server.Ratio: "half" is not allowed; it must be a number (from FILE line 1)`},
		"no number":        {"Server: {Ratio: .nan}", `Server.Ratio: NaN is not allowed; it must be a number (from FILE line 1)`},
		"infinite":         {"Server: {Ratio: .inf}", `Server.Ratio: +Inf is not allowed; it must be a number (from FILE line 1)`},
		"yes for bool":     {"Server: {TLS: yes}", `Server.TLS: "yes" is not allowed; it must be true or false (from FILE line 1)`},
		"number for text":  {"Server: {RunMode: 1}", `Server.RunMode: 1 is not allowed; it must be a text; numbers, dates and the like in quotes (from FILE line 1)`},
		"list for text":    {"Server: {RunMode: [a]}", `Server.RunMode: a list is not allowed; it must be a text; numbers, dates and the like in quotes (from FILE line 1)`},
		"number in list":   {"Server: {Origins: [1]}", `Server.Origins: 1 is not allowed; it must be a list of texts, or one text separated by commas; numbers and the like in quotes (from FILE line 1)`},
		"number for list":  {"Server: {Origins: 1}", `Server.Origins: 1 is not allowed; it must be a list of texts, or one text separated by commas; numbers and the like in quotes (from FILE line 1)`},
		"scalar section":   {"Redis: 5", `Redis: is a section: write its settings on the lines below it, indented: Host, Port (from FILE line 1)`},
		"list section":     {"Redis: [a]", `Redis: is a section: write its settings on the lines below it, indented: Host, Port (from FILE line 1)`},
		"line breaks":      {`Server: {HttpPort: "a\nb"}`, `Server.HttpPort: "a\nb" is not allowed; it must be a whole number (from FILE line 1)`},
	} {
		t.Run(name, func(t *testing.T) {
			_, file, err := load(t, test.yaml, nil, nil)
			require.EqualError(t, err, strings.ReplaceAll(test.want, "FILE", file))
		})
	}
}

func TestUnknown(t *testing.T) {
	const keys = "; the keys of Redis are Host, Port"
	for name, test := range map[string]struct {
		yaml, env, want string
	}{
		"key":                            {"Server:\nredis:\n  Hots: x", "", "Redis.Hots: no such setting; did you mean Redis.Host?" + keys + " (from FILE line 3)"},
		"far key":                        {"Redis: {Sentinels: x}", "", "Redis.Sentinels: no such setting" + keys + " (from FILE line 1)"},
		"section":                        {"Rediss: {Host: x}", "", "Rediss: no such setting; did you mean Redis?; the sections are Server, Database, Redis, Inner (from FILE line 1)"},
		"deep":                           {"Inner: {Deep: {Nome: x}}", "", "Inner.Deep.Nome: no such setting; did you mean Inner.Deep.Name?; the keys of Inner.Deep are Name (from FILE line 1)"},
		"null":                           {"Redis: {Hots: }", "", "Redis.Hots: no such setting; did you mean Redis.Host?" + keys + " (from FILE line 1)"},
		"variable":                       {"", "ACHILLES_REDIS_HOTS=x", "Redis.HOTS: no such setting; did you mean Redis.Host?" + keys + " (from environment variable ACHILLES_REDIS_HOTS)"},
		"mixed case":                     {"", "ACHILLES_Redis_Host=x", "Redis.Host: no such setting; did you mean Redis.Host?" + keys + " (from environment variable ACHILLES_Redis_Host)"},
		"variable of a misspelt section": {"", "ACHILLES_REDDIS_HOST=x", "ACHILLES_REDDIS_HOST: no such setting; did you mean ACHILLES_REDIS_HOST?"},
		"variable without a section":     {"", "ACHILLES_CONFIGG=x", "ACHILLES_CONFIGG: no such setting; did you mean ACHILLES_CONFIG?"},
		"key twice":                      {"Redis: {Host: a, HOST: b}", "", "Redis.Host: is in the file twice, as Redis.HOST and as Redis.Host; keep one (from FILE line 1)"},
		"number name":                    {"Redis: {1: a}", "", "Redis: is a section: write its settings on the lines below it, indented: Host, Port (from FILE line 1)"},
	} {
		t.Run(name, func(t *testing.T) {
			_, file, err := load(t, test.yaml, []string{test.env}, nil)
			require.EqualError(t, err, strings.ReplaceAll(test.want, "FILE", file))
		})
	}
}

func TestForeignVariablesAreIgnored(t *testing.T) {
	c, _, err := load(t, "-", []string{
		// What Kubernetes sets for services named achilles-redis, achilles-server-http, achilles-database and achilles.
		"ACHILLES_REDIS_SERVICE_HOST=10.96.0.7", "ACHILLES_REDIS_SERVICE_PORT=6379", "ACHILLES_REDIS_SERVICE_PORT_REDIS=6379",
		"ACHILLES_REDIS_PORT=tcp://10.96.0.7:6379", "ACHILLES_REDIS_PORT_6379_TCP=tcp://10.96.0.7:6379",
		"ACHILLES_REDIS_PORT_6379_TCP_PROTO=tcp", "ACHILLES_REDIS_PORT_6379_TCP_PORT=6379", "ACHILLES_REDIS_PORT_6379_TCP_ADDR=10.96.0.7",
		"ACHILLES_SERVER_HTTP_PORT=tcp://10.96.0.8:80", "ACHILLES_SERVER_HTTP_SERVICE_HOST=10.96.0.8", "ACHILLES_SERVER_PORT_53_UDP_ADDR=10.96.0.8",
		"ACHILLES_DATABASE_SERVICE_PORT_MYSQL_X=3306", "ACHILLES_SERVICE_HOST=10.96.0.9", "ACHILLES_PORT=tcp://10.96.0.9:80",
		// The same for services named achilles-databse and achilles-confg, and unknown sections.
		"ACHILLES_DATABSE_SERVICE_HOST=10.96.0.9", "ACHILLES_DATABSE_PORT=tcp://10.96.0.9:80", "ACHILLES_CONFG_PORT_80_TCP=tcp://10.96.0.9:80", "ACHILLES_TAG=v1",
		"ACHILLES_CONFIG=x", "ACHILLES_TEST_MYSQL=x", "ACHILLES_OTHER_HTTPPORT=1", "ACHILLES_SERVER=1", "ACHILLES_SERVER_=", "NOTACHILLES_SERVER_X=1",
		"ACHILLES_", "=C:=C:", "", "NOVALUE",
	}, nil)
	require.NoError(t, err)
	require.Equal(t, defaults(), c)

	c, _, err = load(t, "-", []string{"ACHILLES_REDIS_PORT=6380"}, nil)
	require.NoError(t, err)
	require.Equal(t, 6380, c.Redis.Port, "a real setting of that name still counts")
	_, _, err = load(t, "-", []string{"ACHILLES_REDIS_SERVICEHOST=x"}, nil)
	require.ErrorContains(t, err, "Redis.SERVICEHOST: no such setting")
}

func TestValidation(t *testing.T) {
	for name, test := range map[string]struct {
		yaml string
		env  []string
		args []string
		want string
	}{
		"in a section": {yaml: "Server:\n  HttpPort: 70000", want: "Server.HttpPort: 70000 is not allowed; it must be a port from 0 to 65535 (from FILE line 2)"},
		"from flag":    {args: []string{"--server.httpport=-1"}, want: "Server.HttpPort: -1 is not allowed; it must be a port from 0 to 65535 (from flag --server.httpport)"},
		"from env": {env: []string{"ACHILLES_SERVER_RUNMODE=fast"},
			want: "Server.RunMode: fast is not allowed; it must be debug or release (from environment variable ACHILLES_SERVER_RUNMODE)"},
		"empty":           {yaml: "Server: {RunMode: ''}", want: `Server.RunMode: "" is not allowed; it must be debug or release (from FILE line 1)`},
		"whole":           {yaml: "Server: {ReadTimeout: 2h}", want: "Server.ReadTimeout: 2h0m0s is not allowed; it must be at most 1h (from FILE line 1)"},
		"other error":     {yaml: "Database: {Username: odd}", want: "Database: is odd: one and two"},
		"secret":          {yaml: "Database: {Password: forbidden}", want: "Database.Password: ****** is not allowed; it must be another one (from FILE line 1)"},
		"through anchors": {yaml: "Redis: &r {}\nServer:\n  <<: {HttpPort: 70000}", want: "Server.HttpPort: 70000 is not allowed; it must be a port from 0 to 65535 (from FILE)"},
	} {
		t.Run(name, func(t *testing.T) {
			_, file, err := load(t, test.yaml, test.env, test.args)
			require.EqualError(t, err, strings.ReplaceAll(test.want, "FILE", file))
		})
	}
}

type ruledConfig struct {
	Count   int           `mapstructure:"Count" validate:"min=1"`
	Size    int           `mapstructure:"Size" validate:"min=0,max=100"`
	Timeout time.Duration `mapstructure:"Timeout" validate:"gt=0"`
	Period  time.Duration `mapstructure:"Period" validate:"min=100ms,max=1h"`
	Mode    string        `mapstructure:"Mode" validate:"oneof=a b c"`
	URL     string        `mapstructure:"URL" validate:"http_url" allowed:"a URL such as http://host:80"`
	Key     Secret        `mapstructure:"Key" validate:"min=8" allowed:"8 bytes or more"`
	Names   []string      `mapstructure:"Names" validate:"dive,alpha" allowed:"letters"`
	Ratio   float64       `mapstructure:"Ratio" validate:"min=0,max=1"`
}

func (c ruledConfig) Validate() error {
	if c.Count > c.Size {
		return Invalid("Count", fmt.Sprint(c.Count), "at most Size")
	}
	return nil
}

func TestRules(t *testing.T) {
	valid := ruledConfig{Count: 1, Size: 1, Timeout: 1, Period: time.Hour, Mode: "b", URL: "http://a", Key: "12345678", Names: []string{"x"}}
	for name, test := range map[string]struct {
		change func(*ruledConfig)
		want   string
	}{
		"valid":        {func(*ruledConfig) {}, ""},
		"minimum":      {func(c *ruledConfig) { c.Count = 0 }, "Count: 0 is not allowed; it must be 1 or more"},
		"range":        {func(c *ruledConfig) { c.Size = 101 }, "Size: 101 is not allowed; it must be 0 to 100"},
		"above":        {func(c *ruledConfig) { c.Timeout = 0 }, "Timeout: 0s is not allowed; it must be more than 0"},
		"duration":     {func(c *ruledConfig) { c.Period = 99 * time.Millisecond }, "Period: 99ms is not allowed; it must be 100ms to 1h"},
		"one of":       {func(c *ruledConfig) { c.Mode = "" }, `Mode: "" is not allowed; it must be a, b or c`},
		"own words":    {func(c *ruledConfig) { c.URL = "a:80" }, "URL: a:80 is not allowed; it must be a URL such as http://host:80"},
		"secret":       {func(c *ruledConfig) { c.Key = hidden }, "Key: ****** is not allowed; it must be 8 bytes or more"},
		"list":         {func(c *ruledConfig) { c.Names = []string{"x", "1"} }, "Names: 1 is not allowed; it must be letters"},
		"not a number": {func(c *ruledConfig) { c.Ratio = math.NaN() }, "Ratio: NaN is not allowed; it must be 0 to 1"},
		"rule and method": {func(c *ruledConfig) { c.Mode, c.Count = "d", 2 },
			"Mode: d is not allowed; it must be a, b or c\nCount: 2 is not allowed; it must be at most Size"},
	} {
		t.Run(name, func(t *testing.T) {
			c := struct{ Section ruledConfig }{valid}
			test.change(&c.Section)
			if test.want == "" {
				require.NoError(t, Validate(&c.Section))
				require.NoError(t, Load(&c, Source{}))
				return
			}
			require.EqualError(t, Validate(&c.Section), test.want)
			require.EqualError(t, Load(&c, Source{}), "Section."+strings.ReplaceAll(test.want, "\n", " (from the defaults)\nSection.")+" (from the defaults)")
		})
	}
	silent := struct {
		URL string `validate:"http_url"`
	}{}
	require.ErrorContains(t, Load(&silent, Source{}), "needs a tag allowed", "a rule without a description")
}

func TestDefaultsAreValidatedToo(t *testing.T) {
	c := config{}
	require.EqualError(t, Load(&c, Source{}), `Server.RunMode: "" is not allowed; it must be debug or release (from the defaults)`)
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, file, err := load(t, "Server:\n  HttpPort: x\n  RunMode: fast\n  Port: 1\nRedis:\n  Hots: x\nDatabase:\n  Username: odd\n",
		[]string{"ACHILLES_SERVER_SIZE=-1", "ACHILLES_REDIS_PORTT=1"}, []string{"--server.readtimeout=soon"})
	require.Equal(t, []string{
		"Redis.Hots: no such setting; did you mean Redis.Host?; the keys of Redis are Host, Port (from " + file + " line 6)",
		"Server.Port: no such setting; the keys of Server are RunMode, HttpPort, ReadTimeout, Offset, Origins, Small, Size, Ratio, TLS (from " + file + " line 4)",
		"Redis.PORTT: no such setting; did you mean Redis.Port?; the keys of Redis are Host, Port (from environment variable ACHILLES_REDIS_PORTT)",
		`Server.HttpPort: "x" is not allowed; it must be a whole number (from ` + file + " line 2)",
		`Server.ReadTimeout: "soon" is not allowed; it must be a duration such as 1m30s, not negative; a bare number is seconds (from flag --server.readtimeout)`,
		`Server.Size: "-1" is not allowed; it must be a whole number from 0 to 65535 (from environment variable ACHILLES_SERVER_SIZE)`,
		"Database: is odd: one and two",
	}, strings.Split(err.Error(), "\n"))

	_, _, err = load(t, "Server: {HttpPort: 70000, RunMode: fast}", nil, nil)
	require.Len(t, strings.Split(err.Error(), "\n"), 2, "each error of a section has its own line")
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		return file
	}
	for name, content := range map[string]string{
		"empty": "", "comment": "# nothing yet\n", "marker": "---\n", "null": "~", "empty sections": "Server:\nRedis: {}\nDatabase: ~\n", "empty key": "Server:\n  HttpPort:\n",
		"byte order mark": "\ufeffServer:\n", "windows": "Server:\r\n  HttpPort: 8000\r\n", "end marker": "Server:\n...\n", "json": `{"Server": {"HttpPort": 8000}}`,
	} {
		c, _, err := loadFile(t, write("ok.yaml", content), nil, nil)
		require.NoError(t, err, name)
		require.Equal(t, defaults(), c, name)
	}
	for name, test := range map[string]struct{ file, want string }{
		"missing":    {filepath.Join(dir, "none.yaml"), "does not exist; check --config and ACHILLES_CONFIG, or leave both out to run on the defaults"},
		"directory":  {dir, "is a directory, not a file; check --config and ACHILLES_CONFIG, or leave both out to run on the defaults"},
		"under file": {filepath.Join(write("plain", ""), "x.yaml"), "cannot be read: not a directory; check --config and ACHILLES_CONFIG, or leave both out to run on the defaults"},
		"tab":        {write("tab.yaml", "Server:\n  RunMode: debug\n\tHttpPort: 1\n"), "near line 2: found a tab character that violates indentation"},
		"colon":      {write("colon.yaml", "Server:\n  RunMode debug\n  HttpPort: 1\n"), "near line 3: mapping values are not allowed in this context"},
		"first line": {write("first.yaml", "Server: {"), "near line 1: did not find expected node content"},
		"list":       {write("list.yaml", "\n- Server\n"), "line 2: is not a list of sections; write for example Server: and, indented below it, HttpPort: 8000"},
		"text":       {write("text.yaml", "Server"), "line 1: is not a list of sections; write for example Server: and, indented below it, HttpPort: 8000"},
		"two":        {write("two.yaml", "Server:\n---\nRedis:\n"), "holds more than one document; put all settings into one, without --- between them"},
		"duplicate":  {write("dup.yaml", "Server:\n  HttpPort: 1\n  HttpPort: 2\n"), `unmarshal errors: line 3: mapping key "HttpPort" already defined at line 2`},
		"anchor":     {write("anchor.yaml", "Database:\n  Password: *hunter2\n"), "line 2: a value that begins with * refers to an anchor that does not exist; if it is meant as a text, put it in quotes"},
		"tagged":     {write("tagged.yaml", "Database:\n  Password: !!int hunter2\n"), "cannot decode !!str ****** as a !!int"},
	} {
		t.Run(name, func(t *testing.T) {
			// Errors that do not depend on the file are reported, too.
			_, _, err := loadFile(t, test.file, []string{"ACHILLES_SERVER_SMALL=x", "ACHILLES_DATABASE_USERNAME=odd"}, nil)
			require.EqualError(t, err, "configuration file "+test.file+": "+test.want+"\n"+
				`Server.Small: "x" is not allowed; it must be a whole number from -128 to 127 (from environment variable ACHILLES_SERVER_SMALL)`)
		})
	}
}

func TestNotAConfiguration(t *testing.T) {
	var nothing *config
	odd := struct{ Map map[string]string }{}
	for _, dst := range []any{nil, config{}, nothing, new(int), &odd} {
		require.Error(t, Load(dst, Source{}), "%T", dst)
		require.Panics(t, func() { BindFlags(pflag.NewFlagSet("", pflag.ContinueOnError), dst) }, "%T", dst)
	}
}

func TestFieldsWithoutTag(t *testing.T) {
	c := struct {
		Name    string
		Skipped map[string]string `mapstructure:"-"`
		Short   string            `mapstructure:"S,omitempty"`
	}{Name: "a"}
	require.NoError(t, Load(&c, Source{Environ: []string{"ACHILLES_NAME=b", "ACHILLES_S=c"}}))
	require.Equal(t, "b", c.Name)
	require.Equal(t, "c", c.Short)
}

// The settings of an embedded configuration belong to the configuration itself.
func TestEmbeddedConfiguration(t *testing.T) {
	type Shared = config
	c := struct {
		Shared `mapstructure:",squash"`
		App    struct{ Name string }
	}{Shared: defaults()}
	require.NoError(t, Load(&c, Source{Environ: []string{"ACHILLES_SERVER_HTTPPORT=1", "ACHILLES_APP_NAME=b"}}))
	require.Equal(t, 1, c.Server.HTTPPort)
	require.Equal(t, "b", c.App.Name)
	require.EqualError(t, Load(&c, Source{Environ: []string{"ACHILLES_SERVER_READTIMEOUT=2h"}}),
		"Server.ReadTimeout: 2h0m0s is not allowed; it must be at most 1h (from environment variable ACHILLES_SERVER_READTIMEOUT)")
}

func TestHelp(t *testing.T) {
	c := defaults()
	c.Database.Password = "hunter2"
	c.Server.Origins = []string{"a", "b"}
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	BindFlags(fs, &c)
	usages := fs.FlagUsages()
	for _, want := range []string{
		`--server.httpport int `, `port to serve on (default 8000; ACHILLES_SERVER_HTTPPORT)`,
		`--server.readtimeout duration `, `time to read a request (default 15s; ACHILLES_SERVER_READTIMEOUT)`,
		`--server.origins list `, `allowed origins (default a,b; ACHILLES_SERVER_ORIGINS)`,
		`--server.runmode string `, `debug or release (default "debug"; ACHILLES_SERVER_RUNMODE)`,
		`a small number (default 0; ACHILLES_SERVER_SMALL)`, `whether to encrypt (default false; ACHILLES_SERVER_TLS)`,
		`the cache (default none; ACHILLES_REDIS_HOST)`, `--inner.deep.name string `, `--database.passwordfile string `,
	} {
		require.Contains(t, usages, want)
	}
	require.NotContains(t, usages, "hunter2")
	require.NotContains(t, usages, "--database.password ", "a secret has no flag")
	require.Equal(t, "  Database.Password: its password (environment or file only; ACHILLES_DATABASE_PASSWORD)\n", SecretUsages(&c))
	known, err := describe(&c)
	require.NoError(t, err)
	require.Equal(t, len(known.fields)-1, strings.Count(usages, "(default "), "every other setting has its default in the help")
}

func TestValidHostPort(t *testing.T) {
	for text, want := range map[string]bool{
		"db:3306": true, "10.0.0.1:1": true, "[::1]:65535": true,
		"": false, "db": false, "db:": false, ":3306": false, " :3306": false, "db:0": false, "db:65536": false, "db:-1": false, "db:x": false, "::1:3306": false,
	} {
		require.Equal(t, want, ValidHostPort(text), text)
	}
}
