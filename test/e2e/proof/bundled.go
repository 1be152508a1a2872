package proof

import (
	"context"
	"fmt"
)

// bundledRun installs the chart as a stranger does, with its own MariaDB and
// Redis, upgrades it, and expects that passwords and data are kept.
func (p *Proof) bundledRun(ctx context.Context) error {
	if err := p.pushStandIns(ctx); err != nil {
		return err
	}
	const namespace = "achilles-bundled"
	if err := p.cluster.Namespace(ctx, namespace, "restricted"); err != nil {
		return err
	}
	s := newSystem(p.cluster, p.chart, p.folder, namespace, current)
	if _, err := p.cluster.Helm(ctx, p.bundled("install", namespace)...); err != nil {
		return err
	}
	tested, err := p.cluster.Helm(ctx, "test", release, "-n", namespace, "--timeout", patience.String())
	p.verdict("The bundled MariaDB and Redis give a working system", err == nil, "helm test: %s", lastLine(tested, err))
	before, err := p.passwords(ctx, namespace)
	if err != nil {
		return err
	}
	if _, err := p.cluster.Helm(ctx, append(p.bundled("upgrade", namespace), "--set", "tag.config.App.DefaultPageSize=20")...); err != nil {
		return err
	}
	if err := s.rolledOut(ctx); err != nil {
		return err
	}
	after, err := p.passwords(ctx, namespace)
	if err != nil {
		return err
	}
	tested, err = p.cluster.Helm(ctx, "test", release, "-n", namespace, "--timeout", patience.String())
	p.verdict("An upgrade keeps the generated Secrets", err == nil && before == after && before != "", "helm test afterwards: %s", lastLine(tested, err))
	return s.uninstall(context.WithoutCancel(ctx))
}

// bundled are the arguments of helm for the chart's defaults, but for where the
// images are.
func (p *Proof) bundled(verb, namespace string) []string {
	args := []string{verb, release, p.chart, "-n", namespace, "--wait", "--timeout", patience.String()}
	for _, name := range []string{"tag", "article", "mariadb", "redis"} {
		args = append(args, "--set", fmt.Sprintf("%s.image.repository=%s,%[1]s.image.tag=%[3]s", name, p.cluster.Image(name), current))
	}
	return args
}

// passwords is everything in the Secrets that the chart has generated.
func (p *Proof) passwords(ctx context.Context, namespace string) (string, error) {
	return p.cluster.Kubectl(ctx, "get", "secrets", "-n", namespace, "-l", "app.kubernetes.io/instance="+release,
		"-o", "jsonpath={range .items[*]}{.metadata.name}{.data}{end}")
}
