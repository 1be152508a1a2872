package runner

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/achilles-blog/achilles/pkg/failpoint"
	"github.com/achilles-blog/achilles/scaffold/fields"
	"github.com/achilles-blog/achilles/test/e2e/cluster"
	"github.com/achilles-blog/achilles/test/e2e/load"
	"github.com/achilles-blog/achilles/test/services"
)

const (
	release = "achilles"
	// rolloutTimeout is the timeout of installations, rollouts and other waits.
	rolloutTimeout = 4 * time.Minute
)

// component is the name of a service.
type component string

// The services that the load knows more about than what services/services.yaml lists.
const (
	tag     component = "tag"
	article component = "article"
)

func (c component) deployment() string { return "deployment/" + release + "-" + string(c) }

// system is an installation of the chart.
type system struct {
	cluster   *cluster.Cluster
	services  []services.Service
	chart     string
	namespace string
	host      string // of the Ingress
	folder    string // for values files
	// versions are the tags of the images.
	versions map[component]string
	// points are the enabled fail points.
	points map[component][]failpoint.Point
	// changes are changed values of the services, which upgrades keep.
	changes map[component]map[string]any
	// readOnly switches read-only mode on.
	readOnly bool
	// replicas of each service; the chart's default if 0.
	replicas int
	// window is rollout.requestSeconds.
	window time.Duration
	// loaded is what was loaded before any load.
	loaded loaded
	// results are the results of all loads by run.
	results map[string][]load.Result
}

func newSystem(c *cluster.Cluster, all []services.Service, chart, folder, namespace, version string) *system {
	s := &system{
		cluster: c, services: all, chart: chart, namespace: namespace, host: namespace + ".test", folder: folder,
		points: map[component][]failpoint.Point{}, window: 15 * time.Second, results: map[string][]load.Result{},
	}
	s.versions = s.allOf(version)
	return s
}

// components returns the names of the services.
func (s *system) components() []component {
	all := make([]component, len(s.services))
	for i, service := range s.services {
		all[i] = component(service.Name)
	}
	return all
}

// allOf returns the version for each service.
func (s *system) allOf(version string) map[component]string {
	versions := map[component]string{}
	for _, c := range s.components() {
		versions[c] = version
	}
	return versions
}

// selector selects the pods of the services.
func (s *system) selector() string {
	return "app.kubernetes.io/component in (" + strings.Join(services.Names(s.services), ",") + ")"
}

func (s *system) database(c component) string {
	return strings.ReplaceAll(s.namespace, "-", "_") + "_" + string(c)
}

// values returns values of the chart. They set the servers, the Ingress, high limits, and
// the header with the name of the pod.
func (s *system) values(changes map[component]map[string]any) map[string]any {
	host, port, _ := net.SplitHostPort(s.cluster.MySQL.Addr)
	redisHost, redisPort, _ := net.SplitHostPort(s.cluster.Redis)
	values := map[string]any{
		"mariadb":        map[string]any{"enabled": false},
		"database":       map[string]any{"host": host, "port": number(port), "username": s.cluster.MySQL.User, "existingSecret": "database", "passwordKey": "password"},
		"redis":          map[string]any{"enabled": false},
		"externalRedis":  map[string]any{"host": redisHost, "port": number(redisPort)},
		"files":          s.files(),
		"ingress":        map[string]any{"enabled": true, "hosts": []string{s.host}},
		"trustedProxies": trustedProxies(),
		"readOnly":       s.readOnly,
		"networkPolicy": map[string]any{"extraFrom": []any{map[string]any{"namespaceSelector": map[string]any{
			"matchLabels": map[string]any{"kubernetes.io/metadata.name": agentNamespace}}}}},
	}
	byName := map[string]any{}
	values["services"] = byName
	for _, listed := range s.services {
		c := component(listed.Name)
		service := map[string]any{
			"image":    map[string]any{"repository": s.cluster.Image(string(c)), "tag": s.versions[c]},
			"database": map[string]any{"name": s.database(c)},
			"config":   settings(listed),
			// The load runs on the same nodes, so the pods get little more than
			// they request.
			"resources": map[string]any{"requests": map[string]any{"cpu": "250m"}},
			"extraEnv":  s.environment(c),
		}
		if s.replicas > 0 {
			service["replicas"] = s.replicas
		}
		overlay(service, s.changes[c])
		overlay(service, changes[c])
		byName[string(c)] = service
	}
	return values
}

// trustedProxies returns the networks of the load's clients, which name clients of their
// own, like a second proxy.
func trustedProxies() []string {
	return []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "fc00::/7"}
}

// environment returns variables that set the header with the name of the pod and enable
// fail points.
func (s *system) environment(c component) []any {
	variables := []any{map[string]any{"name": "ACHILLES_SERVER_SERVEDBY",
		"valueFrom": map[string]any{"fieldRef": map[string]any{"fieldPath": "metadata.name"}}}}
	var names []string
	for _, p := range s.points[c] {
		names = append(names, string(p))
	}
	if len(names) > 0 {
		variables = append(variables, map[string]any{"name": failpoint.Variable, "value": strings.Join(names, ",")})
	}
	return variables
}

// settings returns settings with limits that the load's client does not reach, except
// those of POST /auth, and with timeouts that an overloaded machine does not reach.
func settings(of services.Service) map[string]any {
	const most, timeout = 100_000, "12s"
	all := map[string]any{
		"Server":   map[string]any{"TrustedHops": 2},
		"Limits":   map[string]any{"ReadPerSecond": most, "ReadBurst": most, "SearchPerSecond": most, "SearchBurst": most, "WritePerSecond": most, "WriteBurst": most},
		"Database": map[string]any{"Timeout": timeout},
	}
	if of.Feed() != "" {
		all["Feed"] = map[string]any{"Timeout": timeout}
	}
	return all
}

// overlay merges values into other values recursively.
func overlay(into, values map[string]any) {
	for key, value := range values {
		above, isSection := value.(map[string]any)
		if !isSection {
			into[key] = value
			continue
		}
		below, ok := into[key].(map[string]any)
		if !ok {
			below = map[string]any{}
			into[key] = below
		}
		overlay(below, above)
	}
}

func number(text string) (n int) {
	_, _ = fmt.Sscan(text, &n)
	return n
}

// install installs the chart in a new namespace with empty databases.
func (s *system) install(ctx context.Context) error {
	if err := s.cluster.Namespace(ctx, s.namespace, "restricted"); err != nil {
		return err
	}
	for _, c := range s.components() {
		if err := s.drop(ctx, s.database(c)); err != nil {
			return err
		}
	}
	if err := s.cluster.Apply(ctx, fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"database","namespace":%q},"stringData":{"password":%q}}`,
		s.namespace, s.cluster.MySQL.Password)); err != nil {
		return err
	}
	if err := s.cluster.Apply(ctx, fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":%q,"namespace":%q},"stringData":{"access-key":%q,"secret-key":%q}}`,
		filesSecret, s.namespace, s.cluster.S3.AccessKey, s.cluster.S3.SecretKey)); err != nil {
		return err
	}
	return s.helm(ctx, "install", nil)
}

// upgrade upgrades the release, with changed values that the next upgrade doesn't keep.
func (s *system) upgrade(ctx context.Context, changes map[component]map[string]any) error {
	return s.helm(ctx, "upgrade", changes)
}

func (s *system) helm(ctx context.Context, verb string, changes map[component]map[string]any) error {
	text, err := json.MarshalIndent(s.values(changes), "", "  ")
	if err != nil {
		return err
	}
	file := filepath.Join(s.folder, s.namespace+"-values.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	_, err = s.cluster.Helm(ctx, verb, release, s.chart, "-n", s.namespace, "-f", file, "--wait", "--timeout", rolloutTimeout.String())
	return err
}

func (s *system) rollback(ctx context.Context) error {
	_, err := s.cluster.Helm(ctx, "rollback", release, "-n", s.namespace, "--wait", "--timeout", rolloutTimeout.String())
	return err
}

// restart starts a rollout of the services, all if none is named. rolledOut waits for its
// end.
func (s *system) restart(ctx context.Context, components ...component) error {
	if len(components) == 0 {
		components = s.components()
	}
	args := []string{"rollout", "restart", "-n", s.namespace}
	for _, c := range components {
		args = append(args, c.deployment())
	}
	_, err := s.cluster.Kubectl(ctx, args...)
	return err
}

func (s *system) rolledOut(ctx context.Context) error {
	for _, c := range s.components() {
		if _, err := s.cluster.Kubectl(ctx, "rollout", "status", "-n", s.namespace, c.deployment(), "--timeout", rolloutTimeout.String()); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, rolloutTimeout)
	defer cancel()
	return s.cluster.Gone(ctx, s.namespace, s.selector())
}

// scale scales all services.
func (s *system) scale(ctx context.Context, replicas int) error {
	args := []string{"scale", "-n", s.namespace, fmt.Sprintf("--replicas=%d", replicas)}
	for _, c := range s.components() {
		args = append(args, c.deployment())
	}
	_, err := s.cluster.Kubectl(ctx, args...)
	return err
}

func (s *system) uninstall(ctx context.Context) error {
	_, err := s.cluster.Kubectl(ctx, "delete", "namespace", s.namespace, "--wait=false")
	return err
}

// throughIngress returns the endpoint of all services from outside of the cluster.
func (s *system) throughIngress() load.Endpoint {
	addr := strings.TrimPrefix(strings.TrimSuffix(s.cluster.IngressURL, "/"), "http://")
	if _, _, err := net.SplitHostPort(addr); err != nil {
		addr = net.JoinHostPort(addr, "80")
	}
	return load.Endpoint{Addr: addr, Host: s.host}
}

// throughService returns the endpoint of a service for pods.
func (s *system) throughService(c component) load.Endpoint {
	host := release + "-" + string(c) + "." + s.namespace + ".svc"
	return load.Endpoint{Addr: host + ":80", Host: host}
}

// resources returns the resources that the load writes and reads by their fields, with the
// endpoints of their services.
func (s *system) resources(at func(component) load.Endpoint) []load.Resource {
	var all []load.Resource
	first := map[string]load.Resource{} // of services
	for _, service := range s.services {
		for _, r := range service.Resources {
			if len(r.Fields) == 0 {
				continue
			}
			made := load.Resource{Name: r.Name, Path: r.Path, Fields: r.Fields, At: at(component(service.Name)), Loaded: s.loaded.of(r.Name)}
			if followed, ok := first[service.Feed()]; ok {
				made.Refers = references(r, followed)
			}
			if r.Name == service.Resources[0].Name {
				first[service.Name] = made
			}
			all = append(all, made)
		}
	}
	return all
}

// references returns the resource of another service by the field that has its ids, as make
// new-service makes it.
func references(of services.Resource, followed load.Resource) map[string]load.Resource {
	for _, f := range of.Fields {
		if f.Name == followed.Name+"_id" && f.Type == fields.Uint64 {
			return map[string]load.Resource{f.Name: followed}
		}
	}
	return nil
}

// open opens the database of a service.
func (s *system) open(c component) (*sql.DB, error) { return s.connect(s.database(c)) }

func (s *system) connect(database string) (*sql.DB, error) {
	config := mysql.NewConfig()
	config.Net, config.Addr, config.DBName = "tcp", s.cluster.MySQL.Addr, database
	config.User, config.Passwd = s.cluster.MySQL.User, s.cluster.MySQL.Password
	return sql.Open("mysql", config.FormatDSN())
}

func (s *system) drop(ctx context.Context, database string) error {
	db, err := s.connect("")
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	_, err = db.ExecContext(ctx, "DROP DATABASE IF EXISTS `"+database+"`") // #nosec G202 -- a name of this package
	return err
}
