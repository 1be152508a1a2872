// Command e2e tests on a Kubernetes cluster that no request fails when pods of Achilles
// are replaced, and that no acknowledged write is lost in a crash.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/achilles-blog/achilles/test/e2e/agent"
	"github.com/achilles-blog/achilles/test/e2e/cluster"
	"github.com/achilles-blog/achilles/test/e2e/runner"
)

const usage = `Usage: e2e run [flags]    run the test; e2e run --help lists the flags
       e2e agent          serve the agent that runs on each node
       e2e crash FILE     kill -9 the process with the id in FILE and restart it

The cluster is started by --local, or described by these variables:

  KUBECONFIG                           for kubectl and helm, which must be installed
  E2E_INGRESS_URL                      http://HOST[:PORT] of an ingress controller for Ingresses without a class
  E2E_REGISTRY                         where images are pushed, such as HOST:PORT/PREFIX
  E2E_REGISTRY_INSECURE                not empty: without TLS
  E2E_IMAGES                           prefix of image names in manifests; default: E2E_REGISTRY
  E2E_MYSQL_ADDR, _USER, _PASSWORD     MySQL or MariaDB, reachable from pods and from here; the account must be allowed to create databases
  E2E_REDIS_ADDR                       Redis without a password, reachable from pods
  E2E_S3_URL, _ACCESS_KEY, _SECRET_KEY optional: an empty bucket as in the setting Files.URL, reachable from pods; without it no files are stored
  E2E_S3_LISTEN                        instead: HOST:PORT at which to start an S3 server that pods can reach
  E2E_CRASH_MYSQL, E2E_CRASH_REDIS     optional shell commands that kill -9 and restart these servers

Exit code: 0 if the test passed, 1 if it failed, 2 if it could not run.
`

const (
	failed   = 1
	unusable = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string) int {
	command := ""
	if len(args) > 0 {
		command = args[0]
	}
	switch {
	case command == "run":
		return runTest(ctx, args[1:])
	case command == "agent":
		return report(serveAgent(ctx))
	case command == "crash" && len(args) > 1:
		return report(cluster.Crash(args[1], args[2:]...))
	default:
		fmt.Fprint(os.Stderr, usage)
		return unusable
	}
}

func report(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return unusable
	}
	return 0
}

func serveAgent(ctx context.Context) error {
	server := &http.Server{Addr: ":8080", Handler: agent.Handler(), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return server.Close()
	}
}

func runTest(ctx context.Context, args []string) int {
	options := runner.Options{Stdout: os.Stdout}
	flags := flag.NewFlagSet("e2e run", flag.ContinueOnError)
	local := flags.String("local", "", "program that starts a cluster on this machine (up, down, env, exec)")
	parts := flags.String("parts", "", "run only these parts: graceful,crashes,controls,bundled")
	only := flags.String("only", "", "cause only the graceful disturbances with one of these words in their names, such as configuration,SIGHUP,live")
	flags.StringVar(&options.Mode, "mode", "short", "name of the mode in the report")
	flags.IntVar(&options.Disturbances, "disturbances", 10, "minimum number of graceful disturbances")
	flags.IntVar(&options.Requests, "requests", 50_000, "minimum number of requests in the graceful run")
	flags.IntVar(&options.CrashRounds, "crash-rounds", 2, "number of rounds of crashes")
	flags.DurationVar(&options.Think, "think", 100*time.Millisecond, "mean pause of a client between requests")
	flags.StringVar(&options.Root, "root", ".", "root directory of the repository")
	flags.StringVar(&options.Out, "out", "bin/e2e-report", "directory for report.html and report.json")
	if err := flags.Parse(args); err != nil {
		return unusable
	}
	if *parts != "" {
		options.Parts = strings.Split(*parts, ",")
	}
	if *only != "" {
		options.Only = strings.Split(*only, ",")
	}
	if *local != "" {
		return onLocalCluster(ctx, cluster.Local{Tool: *local}, args)
	}
	c, err := cluster.FromEnvironment()
	if err != nil {
		return report(err)
	}
	result, err := runner.Run(ctx, c, options)
	if err != nil {
		return report(err)
	}
	fmt.Print(result.Summary())
	if !result.Passed() {
		return failed
	}
	return 0
}

// onLocalCluster starts the cluster and runs this program again with access to it.
func onLocalCluster(ctx context.Context, local cluster.Local, args []string) (code int) {
	environment, started, err := local.Up(ctx)
	if started {
		defer func() {
			if err := local.Down(); err != nil {
				code = report(err)
			}
		}()
	}
	if err != nil {
		return report(err)
	}
	self, err := os.Executable()
	if err != nil {
		return report(err)
	}
	err = local.Exec(ctx, environment, append([]string{self, "run"}, append(args, "--local=")...)...)
	var exit interface{ ExitCode() int }
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return report(err)
}
