package compose_test

import (
	"cmp"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/test/process"
)

// Profiles.
const (
	observability = "observability"
	backup        = "backup"
)

func TestProfiles(t *testing.T) {
	without := []string{"mariadb", "proxy", "redis"}
	for _, name := range names(t) {
		without = append(without, name, name+"-migrate")
	}
	require.ElementsMatch(t, without, load(t).ServiceNames())
	require.ElementsMatch(t, append(without, "prometheus", "grafana", "jaeger"), load(t, observability).ServiceNames())
	require.ElementsMatch(t, append(without, "files"), load(t, backup).ServiceNames())
}

func TestEveryContainerIsHardened(t *testing.T) {
	for name, s := range load(t, observability, backup).Services {
		require.True(t, s.ReadOnly, "%s can write to its own image", name)
		require.Equal(t, []string{"ALL"}, s.CapDrop, name)
		require.Empty(t, s.CapAdd, name)
		require.Contains(t, s.SecurityOpt, "no-new-privileges:true", name)
		require.False(t, s.Privileged, name)
		require.Empty(t, s.NetworkMode, name)
		require.NotEmpty(t, s.User, name)
		require.NotRegexp(t, `^(root|0)(:|$)`, s.User, "%s runs as root", name)
		require.NotEmpty(t, s.Restart, name)
		require.Regexp(t, `^[^:]+:[^:]+$`, s.Image, "the image of %s has no version", name)
		require.NotContains(t, s.Image, "latest", name)
		require.Regexp(t, `^(docker\.io/[^/]+/|achilles-blog/)`, s.Image, "engines such as podman know no short names, of %s", name)
		limits := s.Deploy.Resources.Limits
		require.NotZero(t, limits.MemoryBytes, name)
		require.NotZero(t, limits.NanoCPUs, name)
		require.NotZero(t, limits.Pids, name)
		for _, volume := range s.Volumes {
			if volume.Type == types.VolumeTypeBind {
				require.True(t, volume.ReadOnly, "%s can write to %s", name, volume.Source)
				require.FileExists(t, volume.Source, "%s mounts it", name)
			}
		}
	}
}

// Only the gateway is published, and for monitoring ports of the loopback.
func TestPublishedPorts(t *testing.T) {
	ports := map[string][]string{}
	for name, s := range load(t, observability).Services {
		for _, port := range s.Ports {
			require.Equal(t, "127.0.0.1", port.HostIP, name)
			ports[name] = append(ports[name], port.Published)
		}
	}
	require.Equal(t, map[string][]string{"proxy": {"8080"}, "prometheus": {"9090"}, "grafana": {"3000"}, "jaeger": {"16686"}}, ports)
}

func TestNetworks(t *testing.T) {
	project := load(t, observability)
	members := map[string][]string{}
	for name, s := range project.Services {
		for network := range s.Networks {
			members[network] = append(members[network], name)
		}
	}
	require.True(t, project.Networks["front"].Internal)
	require.True(t, project.Networks["back"].Internal)
	require.Equal(t, []string{"proxy"}, members["edge"])
	require.ElementsMatch(t, append(names(t), "proxy"), members["front"])
	require.NotContains(t, members["back"], "proxy", "the proxy would reach the databases")
	require.ElementsMatch(t, []string{"prometheus", "grafana", "jaeger"}, members["monitoring"])
}

func TestSecretsAreFilesThatNobodyCommits(t *testing.T) {
	project := load(t, observability)
	dir, err := filepath.Abs(folder + "/secrets")
	require.NoError(t, err)
	for name, secret := range project.Secrets {
		require.Equal(t, filepath.Join(dir, name), secret.File)
	}
	require.Contains(t, read(t, folder+"/.gitignore"), "/secrets/\n")
	for name, s := range project.Services {
		for variable, value := range s.Environment {
			if regexp.MustCompile(`PASSWORD|TOKEN|SECRET|KEYS`).MatchString(variable) {
				require.Regexp(t, `^/run/secrets/`, *value, "%s of %s", variable, name)
				require.NotEmpty(t, sourceOf(s, filepath.Base(*value)), "%s reads a secret that it does not get: %s", name, *value)
			}
		}
	}
}

// The services accept the tokens of each other's key set, and all replicas share
// one count for the rate limits.
func TestServicesHaveTheSameAccess(t *testing.T) {
	project := load(t)
	for _, name := range names(t) {
		s := service(t, project, name)
		for variable, value := range map[string]string{
			"ACHILLES_AUTH_KEYSFILE": "/run/secrets/keys.yaml", "ACHILLES_REDIS_ADDRESSES": "redis:6379", "ACHILLES_REDIS_PASSWORDFILE": "/run/secrets/redis",
		} {
			require.Equal(t, value, *s.Environment[variable])
		}
		for _, secret := range []string{"redis", "feed", "keys.yaml"} {
			require.Equal(t, secret, sourceOf(s, secret), "the same for all")
		}
		require.Equal(t, "database-"+name, sourceOf(s, "database"), "of its own account")
		require.Contains(t, s.DependsOn, "redis")
		require.NotEmpty(t, *s.Environment["ACHILLES_SERVER_TRUSTEDPROXIES"], "all clients would be the proxy")
	}
}

// sourceOf returns the secret that a container has under a name, or "".
func sourceOf(s types.ServiceConfig, name string) string {
	for _, secret := range s.Secrets {
		if filepath.Base(cmp.Or(secret.Target, secret.Source)) == name {
			return secret.Source
		}
	}
	return ""
}

// A service that is stopped too early loses requests.
func TestTheGracePeriodsFitTheDrain(t *testing.T) {
	defaults := server.Default().Lifecycle()
	project := load(t)
	var longest time.Duration
	for _, name := range names(t) {
		s := service(t, project, name)
		require.NotContains(t, s.Environment, "ACHILLES_SERVER_DRAINDELAY", "this test compares with the default")
		timeout := defaults.ShutdownTimeout
		if own := s.Environment["ACHILLES_SERVER_SHUTDOWNTIMEOUT"]; own != nil {
			var err error
			timeout, err = time.ParseDuration(*own)
			require.NoError(t, err)
		}
		longest = max(longest, timeout)
		require.GreaterOrEqual(t, time.Duration(*s.StopGracePeriod), defaults.DrainDelay+timeout+18*time.Second, name)
		require.Empty(t, s.StopSignal, "%s drains on SIGTERM", name)
		require.GreaterOrEqual(t, s.GetScale(), 2, "one replica cannot be restarted without a gap")
	}
	stop := regexp.MustCompile(`hard-stop-after (\d+)s`).FindStringSubmatch(read(t, folder+"/haproxy.cfg"))
	require.NotNil(t, stop)
	seconds, err := strconv.Atoi(stop[1])
	require.NoError(t, err)
	proxy := service(t, project, "proxy")
	require.Greater(t, time.Duration(seconds)*time.Second, longest, "the proxy finishes what the services finish")
	require.Greater(t, time.Duration(*proxy.StopGracePeriod), time.Duration(seconds)*time.Second)
	require.Equal(t, "SIGUSR1", proxy.StopSignal)
}

func TestMigrationsComeFirst(t *testing.T) {
	project := load(t)
	for _, name := range names(t) {
		migrate, serve := service(t, project, name+"-migrate"), service(t, project, name)
		require.Equal(t, types.ServiceConditionHealthy, migrate.DependsOn["mariadb"].Condition)
		require.Equal(t, types.ServiceConditionCompletedSuccessfully, serve.DependsOn[name+"-migrate"].Condition)
		require.Equal(t, types.ShellCommand{"migrate"}, migrate.Command)
		require.Equal(t, types.ShellCommand{"serve"}, serve.Command)
		require.Equal(t, serve.Image, migrate.Image)
		require.Equal(t, serve.Environment, migrate.Environment)
		require.Equal(t, serve.Secrets, migrate.Secrets)
		require.NotEqual(t, types.RestartPolicyUnlessStopped, migrate.Restart, "a migration that is done would be started again")
	}
	mariadb := service(t, project, "mariadb")
	require.Equal(t, "docker.io/library/mariadb:11.4", mariadb.Image)
	require.Equal(t, types.HealthCheckTest{"CMD", "healthcheck.sh", "--connect", "--innodb_initialized"}, mariadb.HealthCheck.Test)
}

// The images are those that go into a cluster.
func TestImages(t *testing.T) {
	var chart struct {
		AppVersion string `yaml:"appVersion"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(read(t, "../../deploy/helm/achilles/Chart.yaml")), &chart))
	project := load(t)
	for _, name := range names(t) {
		s := service(t, project, name)
		require.Equal(t, "achilles-blog/"+name+":"+chart.AppVersion, s.Image)
		require.Equal(t, name, *s.Build.Args["SERVICE"])
		require.Contains(t, read(t, filepath.Join(s.Build.Context, s.Build.Dockerfile)), "\nENTRYPOINT [\"/service\"]\n")
		require.Equal(t, "/service", s.HealthCheck.Test[1])
	}
}

// Uploaded files are on a volume that all replicas share. It is mounted at a directory of the
// image, whose mode a new volume takes over.
func TestFilesAreOnAVolume(t *testing.T) {
	project := load(t)
	article := service(t, project, "article")
	require.Len(t, article.Volumes, 1)
	volume := article.Volumes[0]
	require.Equal(t, types.VolumeTypeVolume, volume.Type)
	require.Contains(t, project.Volumes, volume.Source)
	require.False(t, volume.ReadOnly)
	require.Equal(t, "file://"+volume.Target+"/files", *article.Environment["ACHILLES_FILES_URL"])
	require.Equal(t, volume.Target, *article.Environment["ACHILLES_FILES_SPOOLDIR"], "the root is read-only, and a tmpfs is memory")
	require.Regexp(t, `install -d -m 1777 .*/image`+volume.Target+` `, read(t, root+"/services/Dockerfile"))
}

// An update runs twice as many replicas for a while.
func TestThereIsRoomForAnUpdate(t *testing.T) {
	project := load(t)
	replicas := 0
	for _, name := range names(t) {
		s := service(t, project, name)
		scale := s.GetScale()
		replicas += scale
		slots := regexp.MustCompile(`server-template ` + name + ` (\d+) `).FindStringSubmatch(read(t, folder+"/haproxy.cfg"))
		require.NotNil(t, slots)
		room, err := strconv.Atoi(slots[1])
		require.NoError(t, err)
		require.GreaterOrEqual(t, room, 2*scale)
	}
	limit, ok := strings.CutPrefix(service(t, project, "mariadb").Command[0], "--max-connections=")
	require.True(t, ok)
	connections, err := strconv.Atoi(limit)
	require.NoError(t, err)
	require.Greater(t, connections, 2*replicas*database.Default().MaxOpenConns)
}

// Grafana has to find the dashboard and the data source, Prometheus the rules
// and the labels that they need.
func TestObservability(t *testing.T) {
	project := load(t, observability)
	mounts := map[string]string{}
	for _, name := range []string{"grafana", "prometheus"} {
		for _, volume := range service(t, project, name).Volumes {
			mounts[volume.Target] = volume.Source
		}
	}
	var provider struct {
		Providers []struct{ Options struct{ Path string } }
	}
	require.NoError(t, yaml.Unmarshal([]byte(read(t, mounts["/etc/grafana/provisioning/dashboards/achilles.yaml"])), &provider))
	dashboard := provider.Providers[0].Options.Path + "/achilles.json"
	require.Contains(t, read(t, mounts[dashboard]), `"uid": "achilles"`)
	require.Equal(t, dashboard, *service(t, project, "grafana").Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
	require.Contains(t, read(t, mounts["/etc/grafana/provisioning/datasources/achilles.yaml"]), "url: http://prometheus:9090\n")

	var config struct {
		RuleFiles []string `yaml:"rule_files"`
		Scrape    []struct {
			DNS   []struct{ Names []string } `yaml:"dns_sd_configs"`
			Rules []map[string]any           `yaml:"relabel_configs"`
		} `yaml:"scrape_configs"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(read(t, mounts["/etc/prometheus/prometheus.yaml"])), &config))
	for _, file := range config.RuleFiles {
		require.NotEmpty(t, mounts["/etc/prometheus/"+file])
	}
	require.Len(t, config.Scrape, 1)
	require.Equal(t, names(t), config.Scrape[0].DNS[0].Names)
	labels := map[any]any{}
	for _, rule := range config.Scrape[0].Rules {
		labels[rule["target_label"]] = cmp.Or(rule["replacement"], rule["source_labels"])
	}
	require.Equal(t, map[any]any{"namespace": "compose", "service": []any{"__meta_dns_name"}, "pod": []any{"__address__"}}, labels)
	dir := t.TempDir()
	for _, file := range []string{"prometheus.yaml", "alerts.yaml"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(read(t, mounts["/etc/prometheus/"+file])), 0o600))
	}
	process.Tool(t, dir, nil, "promtool", "check", "config", "prometheus.yaml")
}
