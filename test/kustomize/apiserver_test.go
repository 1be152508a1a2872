package kustomize

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

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
	cases := map[string]string{"base": "components: [DEPLOY/components/httproute]\n"}
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
