package runner

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"time"

	"github.com/achilles-blog/achilles/test/e2e/agent"
	"github.com/achilles-blog/achilles/test/e2e/cluster"
)

const agentNamespace = "achilles-e2e-agents"

// The agents are a DaemonSet, because a node drain ignores its pods. They share the PID
// namespace of the node, to kill processes of pods.
const agentManifest = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: %[1]s}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      hostPID: true
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 1
      tolerations: [{operator: Exists}]
      containers:
        - name: agent
          image: %[2]s
          imagePullPolicy: Always
          args: [agent]
          resources: {requests: {cpu: 250m}}
          securityContext: {runAsUser: 0, capabilities: {drop: [ALL], add: [KILL, SYS_PTRACE]}}
          ports: [{containerPort: 8080}]
          readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
`

// agents are clients of the agents of all nodes, through the API server.
type agents struct {
	clients map[string]*agent.Client // by node
	proxy   string                   // URL of kubectl proxy
	stop    func()
}

func deployAgents(ctx context.Context, c *cluster.Cluster, image string) (*agents, error) {
	if err := c.Namespace(ctx, agentNamespace, "privileged"); err != nil {
		return nil, err
	}
	if err := c.Apply(ctx, fmt.Sprintf(agentManifest, agentNamespace, image)); err != nil {
		return nil, err
	}
	if _, err := c.Kubectl(ctx, "rollout", "status", "-n", agentNamespace, "daemonset/agent", "--timeout", rolloutTimeout.String()); err != nil {
		return nil, err
	}
	proxy, stop, err := apiProxy(ctx)
	if err != nil {
		return nil, err
	}
	pods, err := c.Pods(ctx, agentNamespace, "app=agent")
	if err != nil {
		stop()
		return nil, err
	}
	all := &agents{clients: map[string]*agent.Client{}, proxy: proxy, stop: stop}
	for _, p := range pods {
		all.clients[p.Node] = &agent.Client{Node: p.Node, URL: proxy + "/api/v1/namespaces/" + agentNamespace + "/pods/" + p.Name + ":8080/proxy"}
	}
	return all, nil
}

// apiProxy runs kubectl proxy and returns its URL.
func apiProxy(ctx context.Context) (url string, stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, "kubectl", "proxy", "--port=0")
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return "", nil, err
	}
	stop = func() {
		cancel()
		_ = cmd.Wait() // killed
	}
	lines := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		lines <- line
	}()
	select {
	case line := <-lines:
		if addr := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(line); addr != "" {
			return "http://" + addr, stop, nil
		}
		err = fmt.Errorf("kubectl proxy printed %q", line)
	case <-time.After(rolloutTimeout):
		err = errors.New("kubectl proxy did not start")
	}
	stop()
	return "", nil, err
}
