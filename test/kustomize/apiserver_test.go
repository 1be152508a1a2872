package kustomize

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/yaml"

	"github.com/achilles-blog/achilles/test/apiserver"
)

// An API server accepts the objects of each overlay from kubectl without a warning, in a namespace with the restricted Pod
// Security Standard.
func TestAPIServerAccepts(t *testing.T) {
	if os.Getenv("CLUSTER") == "" { // a cluster of KUBECONFIG is used only if it is asked for
		t.Skip("needs an API server: make chart-test has one")
	}
	server := apiserver.New(t)
	server.Define(t)
	cases := map[string]string{"base": "components: [DEPLOY/components/httproute]\n", "../backup": ""}
	for _, o := range overlays {
		cases["overlays/"+o.name] = ""
	}
	for resource, more := range cases {
		t.Run(resource, func(t *testing.T) {
			dir := overlayOf(t, resource, more+"namespace: "+server.Namespace(t))
			stdout, stderr, err := server.Run("", server.Kubectl, "apply", "--server-side", "--dry-run=server", "--validate=strict", "-k", dir)
			require.NoError(t, err, stderr)
			require.Empty(t, stderr, "no warning")
			require.Equal(t, strings.Count("\n"+build(t, dir), "\nkind: "), strings.Count(stdout, "\n"), "a line for each object")
		})
	}
}

// The commands of docs/backup.md start jobs of the CronJobs, the restore with its variables.
func TestBackupCommands(t *testing.T) {
	if os.Getenv("CLUSTER") == "" {
		t.Skip("needs an API server: make chart-test has one")
	}
	server := apiserver.New(t)
	namespace := server.Namespace(t)
	text, err := os.ReadFile(root + "/docs/backup.md")
	require.NoError(t, err)
	ran := 0
	for _, command := range regexp.MustCompile(`(?m)^    (kubectl -n blog (?:apply|create job) (?:.*\|\n)*.*)$`).FindAllSubmatch(text, -1) {
		script := strings.ReplaceAll(string(command[1]), "-n blog", "-n "+namespace)
		script = strings.ReplaceAll(strings.ReplaceAll(script, "deploy/backup", backups), "kubectl", server.Kubectl)
		server.Must(t, "", "sh", "-ec", script)
		ran++
	}
	require.Equal(t, 3, ran)
	var job batchv1.Job
	require.NoError(t, yaml.Unmarshal([]byte(server.Must(t, "", server.Kubectl, "-n", namespace, "get", "job", "achilles-restore", "-o", "yaml")), &job))
	environment := map[string]string{}
	for _, variable := range job.Spec.Template.Spec.Containers[0].Env {
		environment[variable.Name] = variable.Value
	}
	require.Equal(t, "yes", environment["REPLACE"])
	require.Regexp(t, `^/backups/\S+Z$`, environment["FROM"])
	require.NotEmpty(t, environment["BACKUP_OPTIONS"])
	server.Must(t, "", server.Kubectl, "-n", namespace, "get", "job", "backup-now")
}
