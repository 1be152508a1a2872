// Package cluster controls a Kubernetes cluster with kubectl and helm.
package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Cluster describes a cluster and its servers. See FromEnvironment.
type Cluster struct {
	// IngressURL is the URL of the ingress controller for Ingresses without a class.
	IngressURL string
	// Registry is the registry to push images to, Images the prefix of their
	// names in manifests.
	Registry, Images string
	// Insecure allows a registry without TLS.
	Insecure bool
	// MySQL and Redis are reachable from pods and from this program.
	MySQL Server
	Redis string
	// S3 is the storage of files.
	S3 S3
	// CrashMySQL and CrashRedis are shell commands that kill the server with
	// SIGKILL and restart it. If empty, the crash is omitted.
	CrashMySQL, CrashRedis string
}

// Server is a database server. Its account may create databases.
type Server struct{ Addr, User, Password string }

// S3 is an S3 server: one that is there, or where to start one.
type S3 struct {
	// URL is the bucket in the form of the setting Files.URL. It is reachable from pods.
	URL, AccessKey, SecretKey string
	// Listen is the address at which to start a server that pods can reach.
	Listen string
}

// FromEnvironment reads the description of a cluster from environment variables.
// kubectl and helm read KUBECONFIG themselves.
func FromEnvironment() (*Cluster, error) {
	c := &Cluster{
		IngressURL: os.Getenv("E2E_INGRESS_URL"), Registry: os.Getenv("E2E_REGISTRY"), Images: os.Getenv("E2E_IMAGES"),
		Insecure:   os.Getenv("E2E_REGISTRY_INSECURE") != "",
		MySQL:      Server{os.Getenv("E2E_MYSQL_ADDR"), os.Getenv("E2E_MYSQL_USER"), os.Getenv("E2E_MYSQL_PASSWORD")},
		Redis:      os.Getenv("E2E_REDIS_ADDR"),
		S3:         S3{os.Getenv("E2E_S3_URL"), os.Getenv("E2E_S3_ACCESS_KEY"), os.Getenv("E2E_S3_SECRET_KEY"), os.Getenv("E2E_S3_LISTEN")},
		CrashMySQL: os.Getenv("E2E_CRASH_MYSQL"), CrashRedis: os.Getenv("E2E_CRASH_REDIS"),
	}
	if c.Images == "" {
		c.Images = c.Registry
	}
	var missing []string
	for name, value := range map[string]string{
		"KUBECONFIG": os.Getenv("KUBECONFIG"), "E2E_INGRESS_URL": c.IngressURL, "E2E_REGISTRY": c.Registry,
		"E2E_MYSQL_ADDR": c.MySQL.Addr, "E2E_MYSQL_USER": c.MySQL.User, "E2E_REDIS_ADDR": c.Redis,
	} {
		if value == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("set %s, which describe the cluster (see e2e --help)", strings.Join(missing, ", "))
	}
	for _, program := range []string{"kubectl", "helm"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("%s is required: %w", program, err)
		}
	}
	return c, nil
}

// Image returns the name of an image in manifests.
func (c *Cluster) Image(name string) string { return c.Images + "/" + name }

// Push returns the name under which an image is pushed.
func (c *Cluster) Push(name string) string { return c.Registry + "/" + name }

// Kubectl runs kubectl and returns its output.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	return run(ctx, nil, "kubectl", args...)
}

// Helm runs helm and returns its output.
func (c *Cluster) Helm(ctx context.Context, args ...string) (string, error) {
	return run(ctx, nil, "helm", args...)
}

// Apply applies a manifest.
func (c *Cluster) Apply(ctx context.Context, manifest string) error {
	_, err := run(ctx, strings.NewReader(manifest), "kubectl", "apply", "-f", "-")
	return err
}

// ApplyAs applies a manifest in the name of a field manager, which then has the fields of
// the manifest and no others, whoever had them.
func (c *Cluster) ApplyAs(ctx context.Context, manager, manifest string) error {
	_, err := run(ctx, strings.NewReader(manifest), "kubectl", "apply", "--server-side", "--field-manager", manager, "--force-conflicts", "-f", "-")
	return err
}

// run runs a program. Its error contains the standard error of the program.
func run(ctx context.Context, stdin io.Reader, program string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...) // #nosec G204 -- kubectl and helm
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Namespace creates a namespace that enforces the given Pod Security Standard. It
// deletes an existing namespace of an earlier run first.
func (c *Cluster) Namespace(ctx context.Context, name, standard string) error {
	if _, err := c.Kubectl(ctx, "delete", "namespace", name, "--ignore-not-found", "--wait", "--timeout=4m"); err != nil {
		return err
	}
	return c.Apply(ctx, fmt.Sprintf(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q,"labels":{"pod-security.kubernetes.io/enforce":%q}}}`, name, standard))
}

// Pod describes a pod.
type Pod struct {
	Name, Node, IP, UID, Component string
	Ready, Terminating             bool
	// Restarts is the number of restarts of its containers.
	Restarts int
}

// Pods returns the pods that match a selector.
func (c *Cluster) Pods(ctx context.Context, namespace, selector string) ([]Pod, error) {
	printed, err := c.Kubectl(ctx, "get", "pods", "-n", namespace, "-l", selector, "-o", "json")
	if err != nil {
		return nil, err
	}
	var list struct{ Items []podObject }
	if err := json.Unmarshal([]byte(printed), &list); err != nil {
		return nil, fmt.Errorf("read the pods of %s: %w", namespace, err)
	}
	pods := make([]Pod, 0, len(list.Items))
	for _, item := range list.Items {
		pods = append(pods, item.pod())
	}
	return pods, nil
}

type podObject struct {
	Metadata struct {
		Name, UID         string
		Labels            map[string]string
		DeletionTimestamp *time.Time
	}
	Spec   struct{ NodeName string }
	Status struct {
		PodIP             string
		Conditions        []struct{ Type, Status string }
		ContainerStatuses []struct{ RestartCount int }
	}
}

func (o podObject) pod() Pod {
	p := Pod{
		Name: o.Metadata.Name, UID: o.Metadata.UID, Node: o.Spec.NodeName, IP: o.Status.PodIP,
		Component: o.Metadata.Labels["app.kubernetes.io/component"], Terminating: o.Metadata.DeletionTimestamp != nil,
	}
	for _, condition := range o.Status.Conditions {
		p.Ready = p.Ready || condition.Type == "Ready" && condition.Status == "True"
	}
	for _, container := range o.Status.ContainerStatuses {
		p.Restarts += container.RestartCount
	}
	return p
}

// Gone waits until none of the pods that match a selector is terminating.
func (c *Cluster) Gone(ctx context.Context, namespace, selector string) error {
	for {
		pods, err := c.Pods(ctx, namespace, selector)
		if err != nil {
			return err
		}
		terminating := 0
		for _, p := range pods {
			if p.Terminating {
				terminating++
			}
		}
		if terminating == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d pods of %s are still terminating: %w", terminating, namespace, ctx.Err())
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// Nodes returns the names of the nodes.
func (c *Cluster) Nodes(ctx context.Context) ([]string, error) {
	printed, err := c.Kubectl(ctx, "get", "nodes", "-o", "jsonpath={.items[*].metadata.name}")
	return strings.Fields(printed), err
}
