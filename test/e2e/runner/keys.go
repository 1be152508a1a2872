package runner

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/test/e2e/cluster"
	"github.com/achilles-blog/achilles/test/e2e/report"
)

const (
	// app is the app key of the load.
	app = "e2e"
	// tokenLifetime is that of tokens which the e2e test signs itself: a soak takes
	// hours. A key of a key set verifies for as long.
	tokenLifetime = 24 * time.Hour
	// signsIn is when a new key begins to sign. An operator leaves minutes for it
	// to reach every pod; here it is hurried.
	signsIn = 10 * time.Second

	// refusedToken is the kind of failure of a request whose token is refused.
	refusedToken = "status 401 by the service"

	// The Secret of the release with the key set, and its key there.
	keysSecret = release + "-auth"
	keysKey    = "keys.yaml"
)

// keys returns the key set of the release.
func (s *system) keys(ctx context.Context) ([]byte, error) {
	printed, err := s.cluster.Kubectl(ctx, "get", "secret", keysSecret, "-n", s.namespace, "-o", "json")
	if err != nil {
		return nil, err
	}
	var secret struct{ Data map[string][]byte }
	if err := json.Unmarshal([]byte(printed), &secret); err != nil || len(secret.Data[keysKey]) == 0 {
		return nil, fmt.Errorf("the Secret %s has no key set in %s", keysSecret, keysKey) // and no more: it is one
	}
	return secret.Data[keysKey], nil
}

// setKeys puts another key set into the Secret, as an operator does.
func (s *system) setKeys(ctx context.Context, keySet string) error {
	secret, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": keysSecret, "namespace": s.namespace},
		"data": map[string][]byte{keysKey: []byte(keySet)},
	})
	if err != nil {
		return err
	}
	return s.cluster.Apply(ctx, string(secret))
}

// token returns a token for the load, signed with the release's key set.
func (s *system) token(ctx context.Context) (string, error) {
	keySet, err := s.keys(ctx)
	if err != nil {
		return "", err
	}
	return s.sign(keySet, time.Now())
}

// sign returns the token that a service with this key set gives at that time.
func (s *system) sign(keySet []byte, at time.Time) (string, error) {
	config := auth.Default()
	config.Lifetime = tokenLifetime
	config.KeysFile = filepath.Join(s.folder, s.namespace+"-"+keysKey)
	if err := os.WriteFile(config.KeysFile, keySet, 0o600); err != nil {
		return "", err
	}
	opened, err := auth.OpenKeySet(config)
	if err := errors.Join(err, os.Remove(config.KeysFile)); err != nil {
		return "", err
	}
	return opened.Sign(app, []string{auth.ScopeWrite}, at)
}

// keyOf is the id of the key that has signed a token, "" for what is none.
func keyOf(token string) string {
	header, _, _ := strings.Cut(token, ".")
	decoded, err := base64.RawURLEncoding.DecodeString(header)
	var said struct{ Kid string }
	if err != nil || json.Unmarshal(decoded, &said) != nil {
		return ""
	}
	return said.Kid
}

// rotation is a change of the key set under load.
type rotation struct {
	key string
	// known is how long it took until every pod knew the key, pods how many
	// there were.
	known time.Duration
	pods  int
	// before are the requests that the loads had made until then.
	before int
	// wrong says what went wrong.
	wrong string
}

// rotateKeys adds a key to the key set, waits until it signs, and gives the loads
// on the nodes tokens by it. Those of the load through the ingress are by a key
// of before. So from then on every pod has to verify both.
func (r *Runner) rotateKeys(t *traffic) func(context.Context, *system) error {
	return func(ctx context.Context, s *system) error {
		began := time.Now()
		keySet, err := s.keys(ctx)
		if err != nil {
			return err
		}
		rotated, err := auth.RotateKeySet(keySet, began, signsIn, tokenLifetime)
		if err != nil {
			return err
		}
		first, err := s.sign([]byte(rotated), began.Add(signsIn))
		if err != nil {
			return err
		}
		rotation := rotation{key: keyOf(first)}
		if err := s.setKeys(ctx, rotated); err != nil {
			return err
		}
		if err := r.spread(ctx, s, first, began, &rotation); err != nil {
			return err
		}
		if err := pause(ctx, time.Until(began.Add(signsIn))); err != nil {
			return err
		}
		if rotation.wrong == "" {
			err = r.takeKey(ctx, s, t, &rotation)
		}
		r.rotations = append(r.rotations, rotation)
		return err
	}
}

// spread waits until every pod has read the new key set: it takes the token that
// the new key has signed.
func (r *Runner) spread(ctx context.Context, s *system, token string, since time.Time, rotation *rotation) error {
	// A kubelet looks once a minute whether a Secret has changed, and at once
	// when the pod itself has.
	if _, err := r.cluster.Kubectl(ctx, "annotate", "pods", "-n", s.namespace, "-l", services, "--overwrite", "achilles-e2e/key="+rotation.key); err != nil {
		return err
	}
	pods, err := r.cluster.Pods(ctx, s.namespace, services)
	if err != nil {
		return err
	}
	rotation.pods = len(pods)
	for until := time.Now().Add(patience); ; {
		pods = slices.DeleteFunc(pods, func(pod cluster.Pod) bool { return r.admits(ctx, s, pod, token) })
		rotation.known = time.Since(since)
		switch {
		case len(pods) == 0:
			return nil
		case time.Now().After(until):
			rotation.wrong = fmt.Sprintf("%s has not read the key %s within %s", pods[0].Name, rotation.key, patience)
			return nil
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

// admits tells whether a pod takes the token. It is asked through the API
// server, which leaves the header token alone.
func (r *Runner) admits(ctx context.Context, s *system, pod cluster.Pod, token string) bool {
	url := fmt.Sprintf("%s/api/v1/namespaces/%s/pods/%s:8080/proxy/api/v1/%ss?page_size=1", r.agents.proxy, s.namespace, pod.Name, pod.Component)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	request.Header.Set("token", token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false // the next time
	}
	_ = response.Body.Close()
	r.probes++
	return response.StatusCode == http.StatusOK
}

// takeKey gives the loads on the nodes a token by the new key; where it
// has credentials it is one that a service gives.
func (r *Runner) takeKey(ctx context.Context, s *system, t *traffic, rotation *rotation) error {
	count, err := t.count(ctx)
	if err != nil {
		return err
	}
	rotation.before = count.Requests
	token, err := s.token(ctx)
	if err == nil && r.secret != "" {
		token, err = s.door().authenticate(ctx, r.secret)
	}
	if err != nil {
		rotation.wrong = "no token by the new key: " + err.Error()
		return nil
	}
	if signed := keyOf(token); signed != rotation.key {
		rotation.wrong = fmt.Sprintf("POST /auth gave a token by the key %s, when %s was to sign", signed, rotation.key)
		return nil
	}
	return t.setNodesToken(ctx, token)
}

// judgeRotations: any refused token is also a failed request of the run.
func (r *Runner) judgeRotations(run *report.Run) {
	refused, requests, slowest, pods, wrong := run.Kinds[refusedToken], 0, time.Duration(0), 0, []string{}
	for _, rotation := range r.rotations {
		if requests == 0 && rotation.wrong == "" {
			requests = run.Requests - rotation.before
		}
		if rotation.wrong != "" {
			wrong = append(wrong, rotation.wrong)
		}
		slowest, pods = max(slowest, rotation.known), max(pods, rotation.pods)
	}
	r.result("G1: a key rotation refuses no token", refused == 0 && requests > 0 && len(wrong) == 0,
		"of %d requests after the first of %d new keys, with tokens by them from the nodes and by the one before through the ingress, %d were answered 401; "+
			"without a restart each of up to %d pods had read it after %.1f s at most %s", requests, len(r.rotations), refused, pods, slowest.Seconds(), strings.Join(wrong, "; "))
}
