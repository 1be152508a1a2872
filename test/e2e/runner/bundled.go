package runner

import (
	"context"
	"fmt"

	"github.com/achilles-blog/achilles/test/services"
)

// bundledRun installs the chart with its bundled MariaDB and Redis, upgrades it, and
// checks that it works and that the passwords are kept.
func (r *Runner) bundledRun(ctx context.Context) error {
	if err := r.pushStandIns(ctx); err != nil {
		return err
	}
	const namespace = "achilles-bundled"
	if err := r.cluster.Namespace(ctx, namespace, "restricted"); err != nil {
		return err
	}
	s := newSystem(r.cluster, r.services, r.chart, r.folder, namespace, current)
	if _, err := r.cluster.Helm(ctx, r.bundled("install", namespace)...); err != nil {
		return err
	}
	tested, err := r.cluster.Helm(ctx, "test", release, "-n", namespace, "--timeout", rolloutTimeout.String())
	r.result("The system works with the bundled MariaDB and Redis", err == nil, "helm test: %s", lastLine(tested, err))
	before, err := r.passwords(ctx, namespace)
	if err != nil {
		return err
	}
	if _, err := r.cluster.Helm(ctx, append(r.bundled("upgrade", namespace), "--set", "services.tag.config.Database.MaxIdleConns=11")...); err != nil {
		return err
	}
	if err := s.rolledOut(ctx); err != nil {
		return err
	}
	after, err := r.passwords(ctx, namespace)
	if err != nil {
		return err
	}
	tested, err = r.cluster.Helm(ctx, "test", release, "-n", namespace, "--timeout", rolloutTimeout.String())
	r.result("An upgrade keeps the generated Secrets", err == nil && before == after && before != "", "helm test afterwards: %s", lastLine(tested, err))
	return s.uninstall(context.WithoutCancel(ctx))
}

// bundled returns the arguments of helm for the defaults of the chart, except the names
// of the images.
func (r *Runner) bundled(verb, namespace string) []string {
	args := []string{verb, release, r.chart, "-n", namespace, "--wait", "--timeout", rolloutTimeout.String()}
	paths := map[string]string{"mariadb": "mariadb", "redis": "redis"}
	for _, name := range services.Names(r.services) {
		paths[name] = "services." + name
	}
	for name, path := range paths {
		args = append(args, "--set", fmt.Sprintf("%s.image.repository=%s,%[1]s.image.tag=%[3]s", path, r.cluster.Image(name), current))
	}
	return args
}

// passwords returns the contents of the generated Secrets.
func (r *Runner) passwords(ctx context.Context, namespace string) (string, error) {
	return r.cluster.Kubectl(ctx, "get", "secrets", "-n", namespace, "-l", "app.kubernetes.io/instance="+release,
		"-o", "jsonpath={range .items[*]}{.metadata.name}{.data}{end}")
}
