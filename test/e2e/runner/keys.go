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
	// appKey is the app key of the load.
	appKey = "e2e"
	// tokenLifetime is the lifetime of tokens that the runner signs itself, because
	// a soak takes hours. Keys verify as long.
	tokenLifetime = 24 * time.Hour
	// signsIn is the time until a new key signs. Operators use minutes.
	signsIn = 10 * time.Second

	// rejectedToken is the kind of failure of a request whose token is rejected.
	rejectedToken = "status 401 by the service"

	// The Secret with the key set of the release, and its key.
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
		return nil, fmt.Errorf("the Secret %s has no key set in %s", keysSecret, keysKey) // the error must not contain the Secret
	}
	return secret.Data[keysKey], nil
}

// setKeys replaces the key set in the Secret.
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

// sign returns a token signed with the key set at the given time.
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
	return opened.Sign(appKey, []string{auth.ScopeWrite}, at)
}

// keyOf returns the id of the key that signed a token, or "" if it is not a token.
func keyOf(token string) string {
	header, _, _ := strings.Cut(token, ".")
	decoded, err := base64.RawURLEncoding.DecodeString(header)
	var parsed struct{ Kid string }
	if err != nil || json.Unmarshal(decoded, &parsed) != nil {
		return ""
	}
	return parsed.Kid
}

// rotation is a rotation of the key set under load.
type rotation struct {
	key string
	// known is how long it took until every pod knew the key, pods the number of
	// pods.
	known time.Duration
	pods  int
	// before is the number of requests before the key was used.
	before int
	// wrong describes the failure of the rotation, if any.
	wrong string
}

// rotateKeys adds a key to the key set, waits until it signs, and gives the loads on the
// nodes tokens signed by it. The load through the ingress keeps its old token, so that
// every pod has to verify both.
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
		if err := r.awaitKey(ctx, s, first, began, &rotation); err != nil {
			return err
		}
		if err := pause(ctx, time.Until(began.Add(signsIn))); err != nil {
			return err
		}
		if rotation.wrong == "" {
			err = r.useKey(ctx, s, t, &rotation)
		}
		r.rotations = append(r.rotations, rotation)
		return err
	}
}

// awaitKey waits until every pod accepts a token signed by the new key.
func (r *Runner) awaitKey(ctx context.Context, s *system, token string, since time.Time, rotation *rotation) error {
	// The kubelet checks Secrets once a minute, and immediately when a pod changes.
	if _, err := r.cluster.Kubectl(ctx, "annotate", "pods", "-n", s.namespace, "-l", s.selector(), "--overwrite", "achilles-e2e/key="+rotation.key); err != nil {
		return err
	}
	pods, err := r.cluster.Pods(ctx, s.namespace, s.selector())
	if err != nil {
		return err
	}
	rotation.pods = len(pods)
	for until := time.Now().Add(rolloutTimeout); ; {
		pods = slices.DeleteFunc(pods, func(pod cluster.Pod) bool { return r.accepts(ctx, s, pod, token) })
		rotation.known = time.Since(since)
		switch {
		case len(pods) == 0:
			return nil
		case time.Now().After(until):
			rotation.wrong = fmt.Sprintf("%s has not read the key %s within %s", pods[0].Name, rotation.key, rolloutTimeout)
			return nil
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

// accepts reports whether a pod accepts the token. The request is proxied by the API
// server, which passes on the header token.
func (r *Runner) accepts(ctx context.Context, s *system, pod cluster.Pod, token string) bool {
	url := fmt.Sprintf("%s/api/v1/namespaces/%s/pods/%s:8080/proxy%s?page_size=1", r.agents.proxy, s.namespace, pod.Name, s.list(component(pod.Component)))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	request.Header.Set("token", token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false // the caller retries
	}
	_ = response.Body.Close()
	r.probes++
	return response.StatusCode == http.StatusOK
}

// list returns the path of a list of a service.
func (s *system) list(c component) string {
	for _, service := range s.services {
		if service.Name == string(c) {
			return service.Paths[0]
		}
	}
	return ""
}

// useKey gives the loads on the nodes a token signed by the new key, from POST /auth if
// there are credentials.
func (r *Runner) useKey(ctx context.Context, s *system, t *traffic, rotation *rotation) error {
	count, err := t.count(ctx)
	if err != nil {
		return err
	}
	rotation.before = count.Requests
	token, err := s.token(ctx)
	if err == nil && r.secret != "" {
		token, err = s.apiClient().authenticate(ctx, r.secret)
	}
	if err != nil {
		rotation.wrong = "no token signed by the new key: " + err.Error()
		return nil
	}
	if signed := keyOf(token); signed != rotation.key {
		rotation.wrong = fmt.Sprintf("POST /auth returned a token signed by %s, want %s", signed, rotation.key)
		return nil
	}
	return t.setNodesToken(ctx, token)
}

// checkRotations checks that no token was rejected because of a rotation.
func (r *Runner) checkRotations(run *report.Run) {
	rejected, requests, slowest, pods, wrong := run.Kinds[rejectedToken], 0, time.Duration(0), 0, []string{}
	for _, rotation := range r.rotations {
		if requests == 0 && rotation.wrong == "" {
			requests = run.Requests - rotation.before
		}
		if rotation.wrong != "" {
			wrong = append(wrong, rotation.wrong)
		}
		slowest, pods = max(slowest, rotation.known), max(pods, rotation.pods)
	}
	r.result("G1: a key rotation rejects no token", rejected == 0 && requests > 0 && len(wrong) == 0,
		"%d requests after the first of %d new keys, with tokens signed by the new keys from the nodes and by the old key through the ingress; %d were answered 401; "+
			"up to %d pods loaded each key without a restart, after %.1f s at most %s", requests, len(r.rotations), rejected, pods, slowest.Seconds(), strings.Join(wrong, "; "))
}
