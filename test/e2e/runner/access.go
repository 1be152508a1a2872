package runner

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/achilles-blog/achilles/test/e2e/builds"
)

const (
	// authBurst and authInterval are the default limits of token requests: a burst
	// per address, and then one request per interval.
	authBurst    = 5
	authInterval = 6 * time.Second
	// authTries is more than two replicas allow if each counts separately.
	authTries = 3 * authBurst
	// limitTries is the number of attempts, because a slow Redis may spoil some.
	limitTries = 4
)

// apiClient sends single requests to the API, each on a new connection, so that net/http
// does not retry them.
type apiClient struct {
	url, host string
	http      *http.Client
}

func (s *system) apiClient() *apiClient {
	return newAPIClient(strings.TrimSuffix(s.cluster.IngressURL, "/"), s.host)
}

func newAPIClient(address, host string) *apiClient {
	return &apiClient{url: address, host: host, http: &http.Client{Timeout: rolloutTimeout, Transport: &http.Transport{DisableKeepAlives: true}}}
}

// reply is a response of the API. String does not contain its data, which may be a token.
type reply struct {
	status int
	header http.Header
	body   []byte
	Code   int
	Msg    string
	// Details are the details of an error.
	Details []string
	Data    struct {
		ID        uint64
		CreatedBy string `json:"created_by"`
		UpdatedBy string `json:"updated_by"`
		Token     string
	}
}

func (r reply) String() string {
	return fmt.Sprintf("%d (code %d %s %s)", r.status, r.Code, r.Msg, strings.Join(r.Details, ", "))
}

// headers are the headers of a request.
type headers map[string]string

func bearer(token string) headers { return headers{"Authorization": "Bearer " + token} }

func (h headers) with(name, value string) headers {
	all := headers{name: value}
	for name, value := range h {
		all[name] = value
	}
	return all
}

// do sends a request. body, if not nil, is encoded as JSON.
func (a *apiClient) do(ctx context.Context, method, path string, h headers, body any) (reply, error) {
	encoded := []byte{}
	if body != nil {
		var err error
		if encoded, err = json.Marshal(body); err != nil {
			return reply{}, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, a.url+path, bytes.NewReader(encoded))
	if err != nil {
		return reply{}, err
	}
	request.Host = a.host
	request.Header.Set("Locale", "en")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, value := range h {
		request.Header.Set(name, value)
	}
	response, err := a.http.Do(request)
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err // without the URL, whose query may contain a token
	}
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = response.Body.Close() }()
	got := reply{status: response.StatusCode, header: response.Header}
	if got.body, err = io.ReadAll(response.Body); err != nil {
		return got, err
	}
	if len(got.body) > 0 && json.Unmarshal(got.body, &got) != nil {
		got.Msg = "not a response of the API"
	}
	return got, nil
}

func credentials(secret string) map[string]any {
	return map[string]any{"app_key": appKey, "app_secret": secret}
}

// authenticate returns a token for the load's client.
func (a *apiClient) authenticate(ctx context.Context, secret string) (string, error) {
	got, err := a.do(ctx, http.MethodPost, "/auth", nil, credentials(secret))
	if err != nil {
		return "", err
	}
	if got.status != http.StatusOK || got.Data.Token == "" {
		return "", fmt.Errorf("POST /auth: %s", got)
	}
	return got.Data.Token, nil
}

// accessRun tests authentication, idempotency, versions and rate limits through the
// ingress.
func (r *Runner) accessRun(ctx context.Context, s *system) error {
	token, err := s.token(ctx)
	if err != nil {
		return err
	}
	a := s.apiClient()
	if runtime.GOOS == "linux" {
		if r.secret, err = r.addClient(ctx, s); err != nil {
			return err
		}
		got, err := a.authenticate(ctx, r.secret)
		detail := fmt.Sprintf("for a client in the %s service's database, signed by key %s", r.issuer, keyOf(got))
		if err != nil {
			detail = err.Error()
		} else {
			token = got
		}
		r.result("POST /auth gives a token", err == nil && keyOf(token) != "", "%s", detail)
	} else {
		r.log("skipped: POST /auth (the services are built for Linux)")
	}
	c := a.checkAccess(ctx, token)
	r.result("Authentication, idempotency and versions work through the ingress", len(c.problems) == 0, "%d requests %s", c.requests, strings.Join(c.problems, "; "))
	holds, detail, err := a.limitsHold(ctx)
	r.result("Replicas share the rate limits", holds, "%s", detail)
	return err
}

// addClient adds the load's client to the database of the service that issues the tokens, and
// returns its secret.
func (r *Runner) addClient(ctx context.Context, s *system) (string, error) {
	secret := rand.Text()
	cmd := r.command(ctx, s, r.issuer, "client", "add", appKey, "--secret-file", "-")
	cmd.Stdin = strings.NewReader(secret)
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s client add %s: %w: %s", r.issuer, appKey, err, output)
	}
	return secret, nil
}

// command returns a command of a service on the database of a system.
func (r *Runner) command(ctx context.Context, s *system, of component, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, builds.Build{Service: string(of), Version: current}.Program(r.folder), args...) // #nosec G204 -- just built
	cmd.Env = []string{
		"ACHILLES_DATABASE_DBTYPE=mysql", "ACHILLES_DATABASE_HOST=" + s.cluster.MySQL.Addr, "ACHILLES_DATABASE_DBNAME=" + s.database(of),
		"ACHILLES_DATABASE_USERNAME=" + s.cluster.MySQL.User, "ACHILLES_DATABASE_PASSWORD=" + s.cluster.MySQL.Password,
	}
	return cmd
}

// checker sends requests and records unexpected responses.
type checker struct {
	ctx      context.Context
	client   *apiClient
	requests int
	problems []string
}

func (c *checker) expect(ok bool, format string, args ...any) {
	if !ok {
		c.problems = append(c.problems, fmt.Sprintf(format, args...))
	}
}

// do sends a request and expects a status and a code.
func (c *checker) do(status, code int, method, path string, h headers, body any) reply {
	c.requests++
	got, err := c.client.do(c.ctx, method, path, h, body)
	address, _, _ := strings.Cut(path, "?")
	if err != nil {
		got.Msg = err.Error()
	}
	c.expect(err == nil && got.status == status && got.Code == code, "request %d, %s %s: want %d (code %d), got %s", c.requests, method, address, status, code, got)
	return got
}

// checkAccess checks authentication, idempotency and versions with one tag and one
// article, which it deletes afterwards.
func (a *apiClient) checkAccess(ctx context.Context, token string) *checker {
	c := &checker{ctx: ctx, client: a}
	mark := "access " + strconv.FormatInt(time.Now().UnixNano(), 36)
	c.checkObject("/api/v1/tags", "name", mark, token)
	c.checkObject("/api/v1/articles", "title", mark, token)
	return c
}

func (c *checker) checkObject(path, nameField, name, token string) {
	auth, object := bearer(token), map[string]any{nameField: name}
	rejected := c.do(401, 10000004, http.MethodPost, path, nil, object)
	c.expect(rejected.header.Get("WWW-Authenticate") != "", "POST %s without a token: 401 without a challenge", path)
	c.do(401, 10000004, http.MethodPost, path, bearer("no.such.token"), object)
	c.do(401, 10000004, http.MethodPost, path+"?token="+token, nil, object)

	keyed := auth.with("Idempotency-Key", name)
	created := c.do(201, 0, http.MethodPost, path, keyed, object)
	c.expect(created.Data.ID != 0 && created.Data.CreatedBy == appKey, "POST %s: created by %q", path, created.Data.CreatedBy)
	c.expect(created.header.Get("Idempotency-Replayed") == "", "POST %s: the first response is marked as a replay", path)
	repeated := c.do(201, 0, http.MethodPost, path, keyed, object)
	c.expect(repeated.header.Get("Idempotency-Replayed") == "true" && bytes.Equal(created.body, repeated.body),
		"POST %s repeated with its key: another response, with id %d instead of %d", path, repeated.Data.ID, created.Data.ID)
	c.do(422, 10000020, http.MethodPost, path, keyed, map[string]any{nameField: name + " 2"})

	one := path + "/" + strconv.FormatUint(created.Data.ID, 10)
	c.checkVersions(one, created.header.Get("ETag"), auth, map[string]any{nameField: name, "state": 0})
	c.checkDisabled(path, one, auth)
	c.do(401, 10000004, http.MethodDelete, one, nil, nil)
	c.do(200, 0, http.MethodDelete, one, auth, nil)
}

// checkVersions disables the object at path, which has the given ETag.
func (c *checker) checkVersions(path, etag string, auth headers, disabled map[string]any) {
	public := c.do(200, 0, http.MethodGet, path, nil, nil)
	c.expect(strings.Contains(public.header.Get("Cache-Control"), "public") && public.header.Get("RateLimit") != "",
		"GET %s: Cache-Control %q, RateLimit %q", path, public.header.Get("Cache-Control"), public.header.Get("RateLimit"))
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		c.do(304, 0, method, path, headers{"If-None-Match": public.header.Get("ETag")}, nil)
	}
	c.do(401, 10000004, http.MethodPut, path, nil, disabled)
	changed := c.do(200, 0, http.MethodPut, path, auth.with("If-Match", etag), disabled)
	c.expect(changed.Data.UpdatedBy == appKey, "PUT %s: updated by %q", path, changed.Data.UpdatedBy)
	c.do(412, 10000009, http.MethodPut, path, auth.with("If-Match", etag), disabled)
	c.do(412, 10000009, http.MethodDelete, path, auth.with("If-Match", etag), nil)
}

// checkDisabled checks that a disabled object is only visible with a token.
func (c *checker) checkDisabled(list, path string, auth headers) {
	anonymous := c.do(404, notFound(list), http.MethodGet, path, nil, nil)
	c.expect(!strings.Contains(anonymous.header.Get("Cache-Control"), "public"), "GET %s: shared caches may keep the 404", path)
	seen := c.do(200, 0, http.MethodGet, path, auth, nil)
	c.expect(strings.Contains(seen.header.Get("Cache-Control"), "private"), "GET %s with a token: Cache-Control %q", path, seen.header.Get("Cache-Control"))
	c.do(401, 10000004, http.MethodGet, list+"?state=0", nil, nil)
	listed := c.do(200, 0, http.MethodGet, list+"?state=0", auth, nil)
	c.expect(strings.HasPrefix(listed.header.Get("ETag"), "W/"), "GET %s: the ETag %q of a list is not weak", list, listed.header.Get("ETag"))
}

func notFound(list string) int {
	if strings.HasSuffix(list, "tags") {
		return 20010007
	}
	return 20020006
}

// limitsHold reports whether replicas share the limit of token requests. A replica counts
// separately for a second when Redis is slow, for example at the first connection, so it
// tries up to limitTries times, each with another address.
func (a *apiClient) limitsHold(ctx context.Context) (holds bool, detail string, err error) {
	for try := range limitTries {
		// A unique client address. The ingress appends its own.
		address := fmt.Sprintf("192.0.2.%d", 1+(int(time.Now().UnixNano()/1000)+try)%250)
		if holds, detail, err = a.limitHolds(ctx, address); holds || err != nil {
			break
		}
		if err = pause(ctx, time.Second); err != nil {
			break
		}
	}
	return holds, detail, err
}

func (a *apiClient) limitHolds(ctx context.Context, address string) (holds bool, detail string, err error) {
	began, allowed, pods, unexpected := time.Now(), 0, []string{}, ""
	for range authTries {
		got, err := a.do(ctx, http.MethodPost, "/auth", headers{"X-Forwarded-For": address}, map[string]any{}) // without a secret, so that no hash is computed
		if err != nil {
			return false, err.Error(), err
		}
		pods = append(pods, got.header.Get("X-Served-By"))
		wait, _ := strconv.Atoi(got.header.Get("Retry-After"))
		switch {
		case got.status == http.StatusBadRequest && got.Code == 10000001:
			allowed++
		case got.status != http.StatusTooManyRequests || got.Code != 10000007 || wait < 1 || got.header.Get("RateLimit") == "":
			unexpected = fmt.Sprintf("; one response was %s, Retry-After %q", got, got.header.Get("Retry-After"))
		}
	}
	slices.Sort(pods)
	replicas := len(slices.Compact(pods))
	// Each further replica may allow one request before it learns of the others'.
	limit := authBurst + int(time.Since(began)/authInterval) + replicas - 1
	return unexpected == "" && replicas > 1 && authBurst <= allowed && allowed <= limit,
		fmt.Sprintf("%d token requests from one address to %d pods: %d allowed, limit %d, the others rejected with Retry-After%s",
			authTries, replicas, allowed, limit, unexpected), nil
}
