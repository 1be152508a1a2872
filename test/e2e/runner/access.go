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
	// authBurst requests for a token may come from an address at once, and then
	// one in each authInterval: the services' defaults.
	authBurst    = 5
	authInterval = 6 * time.Second
	// authTries are as many as no two replicas let through, each by itself.
	authTries = 3 * authBurst
	// limitTries are as many as a slow Redis may spoil.
	limitTries = 4
)

// door is a way into the system for single requests, each on a connection of
// its own, which net/http has no reason to repeat.
type door struct {
	url, host string
	client    *http.Client
}

func (s *system) door() *door {
	return newDoor(strings.TrimSuffix(s.cluster.IngressURL, "/"), s.host)
}

func newDoor(address, host string) *door {
	return &door{url: address, host: host, client: &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}}
}

// reply is an answer of the API. What it prints as has nothing of its data: that
// may be a token.
type reply struct {
	status int
	header http.Header
	body   []byte
	Code   int
	Msg    string
	// Details are those of a refusal.
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

// headers are those of one request.
type headers map[string]string

func bearer(token string) headers { return headers{"Authorization": "Bearer " + token} }

func (h headers) with(name, value string) headers {
	all := headers{name: value}
	for name, value := range h {
		all[name] = value
	}
	return all
}

// ask sends one request; body is sent as JSON unless it is nil.
func (d *door) ask(ctx context.Context, method, path string, h headers, body any) (reply, error) {
	encoded := []byte{}
	if body != nil {
		var err error
		if encoded, err = json.Marshal(body); err != nil {
			return reply{}, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, d.url+path, bytes.NewReader(encoded))
	if err != nil {
		return reply{}, err
	}
	request.Host = d.host
	request.Header.Set("Locale", "en")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, value := range h {
		request.Header.Set(name, value)
	}
	response, err := d.client.Do(request)
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err // without the address, whose query may hold a token
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
		got.Msg = "no answer of the API"
	}
	return got, nil
}

func credentials(secret string) map[string]any {
	return map[string]any{"app_key": app, "app_secret": secret}
}

// authenticate gets a token for the secret of the load's app.
func (d *door) authenticate(ctx context.Context, secret string) (string, error) {
	got, err := d.ask(ctx, http.MethodPost, "/auth", nil, credentials(secret))
	if err != nil {
		return "", err
	}
	if got.status != http.StatusOK || got.Data.Token == "" {
		return "", fmt.Errorf("POST /auth: %s", got)
	}
	return got.Data.Token, nil
}

// accessRun tries, through the ingress, who may do what, how often, and what a
// repeat or a stale change comes to.
func (r *Runner) accessRun(ctx context.Context, s *system) error {
	token, err := s.token(ctx)
	if err != nil {
		return err
	}
	d := s.door()
	if runtime.GOOS == "linux" {
		if r.secret, err = r.addApp(ctx, s); err != nil {
			return err
		}
		got, err := d.authenticate(ctx, r.secret)
		why := "for an app of the article service's database, by key " + keyOf(got)
		if err != nil {
			why = err.Error()
		} else {
			token = got
		}
		r.result("POST /auth gives a token", err == nil && keyOf(token) != "", "%s", why)
	} else {
		r.say("left out: POST /auth (the article service's command line is built for Linux)")
	}
	c := d.checkAccess(ctx, token)
	r.result("Access, repeats and versions hold through the ingress", len(c.problems) == 0, "%d requests %s", c.asked, strings.Join(c.problems, "; "))
	holds, why, err := d.limitsHold(ctx)
	r.result("Limits hold across replicas", holds, "%s", why)
	return err
}

// addApp adds the app of the load to the database of the articles and returns
// its secret.
func (r *Runner) addApp(ctx context.Context, s *system) (string, error) {
	secret := rand.Text()
	cmd := exec.CommandContext(ctx, builds.Build{Service: string(article), Version: current}.Program(r.folder), "client", "add", app, "--secret-file", "-") // #nosec G204 -- just built
	cmd.Stdin = strings.NewReader(secret)
	cmd.Env = []string{
		"ACHILLES_DATABASE_DBTYPE=mysql", "ACHILLES_DATABASE_HOST=" + s.cluster.MySQL.Addr, "ACHILLES_DATABASE_DBNAME=" + s.database(article),
		"ACHILLES_DATABASE_USERNAME=" + s.cluster.MySQL.User, "ACHILLES_DATABASE_PASSWORD=" + s.cluster.MySQL.Password,
	}
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("article client add %s: %w: %s", app, err, output)
	}
	return secret, nil
}

// checker asks, and keeps what is not as it should be.
type checker struct {
	ctx      context.Context
	door     *door
	asked    int
	problems []string
}

func (c *checker) expect(ok bool, format string, args ...any) {
	if !ok {
		c.problems = append(c.problems, fmt.Sprintf(format, args...))
	}
}

// ask expects a status, and a code of the API unless that is 0.
func (c *checker) ask(status, code int, method, path string, h headers, body any) reply {
	c.asked++
	got, err := c.door.ask(c.ctx, method, path, h, body)
	address, _, _ := strings.Cut(path, "?")
	if err != nil {
		got.Msg = err.Error()
	}
	c.expect(err == nil && got.status == status && got.Code == code, "request %d, %s %s: wanted %d (code %d), got %s", c.asked, method, address, status, code, got)
	return got
}

// checkAccess does to one tag and one article what the API promises about
// tokens, keys and versions, and removes both.
func (d *door) checkAccess(ctx context.Context, token string) *checker {
	c := &checker{ctx: ctx, door: d}
	mark := "access " + strconv.FormatInt(time.Now().UnixNano(), 36)
	c.checkObject("/api/v1/tags", "name", mark, token)
	c.checkObject("/api/v1/articles", "title", mark, token)
	return c
}

func (c *checker) checkObject(path, nameField, name, token string) {
	known, object := bearer(token), map[string]any{nameField: name}
	refused := c.ask(401, 10000004, http.MethodPost, path, nil, object)
	c.expect(refused.header.Get("WWW-Authenticate") != "", "POST %s without a token: 401 without a challenge", path)
	c.ask(401, 10000004, http.MethodPost, path, bearer("no.such.token"), object)
	c.ask(401, 10000004, http.MethodPost, path+"?token="+token, nil, object)

	keyed := known.with("Idempotency-Key", name)
	created := c.ask(201, 0, http.MethodPost, path, keyed, object)
	c.expect(created.Data.ID != 0 && created.Data.CreatedBy == app, "POST %s: created by %q", path, created.Data.CreatedBy)
	c.expect(created.header.Get("Idempotency-Replayed") == "", "POST %s: the first answer says it was given before", path)
	repeated := c.ask(201, 0, http.MethodPost, path, keyed, object)
	c.expect(repeated.header.Get("Idempotency-Replayed") == "true" && bytes.Equal(created.body, repeated.body),
		"POST %s again under its key: another answer, with id %d in place of %d", path, repeated.Data.ID, created.Data.ID)
	c.ask(422, 10000020, http.MethodPost, path, keyed, map[string]any{nameField: name + " 2"})

	one := path + "/" + strconv.FormatUint(created.Data.ID, 10)
	c.checkVersions(one, created.header.Get("ETag"), known, map[string]any{nameField: name, "state": 0})
	c.checkDisabled(path, one, known)
	c.ask(401, 10000004, http.MethodDelete, one, nil, nil)
	c.ask(200, 0, http.MethodDelete, one, known, nil)
}

// checkVersions disables the object at path, which has the tag.
func (c *checker) checkVersions(path, tag string, known headers, disabled map[string]any) {
	public := c.ask(200, 0, http.MethodGet, path, nil, nil)
	c.expect(strings.Contains(public.header.Get("Cache-Control"), "public") && public.header.Get("RateLimit") != "",
		"GET %s: Cache-Control %q, RateLimit %q", path, public.header.Get("Cache-Control"), public.header.Get("RateLimit"))
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		c.ask(304, 0, method, path, headers{"If-None-Match": public.header.Get("ETag")}, nil)
	}
	c.ask(401, 10000004, http.MethodPut, path, nil, disabled)
	changed := c.ask(200, 0, http.MethodPut, path, known.with("If-Match", tag), disabled)
	c.expect(changed.Data.UpdatedBy == app, "PUT %s: updated by %q", path, changed.Data.UpdatedBy)
	c.ask(412, 10000009, http.MethodPut, path, known.with("If-Match", tag), disabled)
	c.ask(412, 10000009, http.MethodDelete, path, known.with("If-Match", tag), nil)
}

// checkDisabled looks at an object that is disabled: only the known see it.
func (c *checker) checkDisabled(list, path string, known headers) {
	unseen := c.ask(404, notFound(list), http.MethodGet, path, nil, nil)
	c.expect(!strings.Contains(unseen.header.Get("Cache-Control"), "public"), "GET %s: a shared cache may keep the 404", path)
	seen := c.ask(200, 0, http.MethodGet, path, known, nil)
	c.expect(strings.Contains(seen.header.Get("Cache-Control"), "private"), "GET %s with a token: Cache-Control %q", path, seen.header.Get("Cache-Control"))
	c.ask(401, 10000004, http.MethodGet, list+"?state=0", nil, nil)
	listed := c.ask(200, 0, http.MethodGet, list+"?state=0", known, nil)
	c.expect(strings.HasPrefix(listed.header.Get("ETag"), "W/"), "GET %s: the ETag %q of a list", list, listed.header.Get("ETag"))
}

func notFound(list string) int {
	if strings.HasSuffix(list, "tags") {
		return 20010007
	}
	return 20020006
}

// limitsHold uses up the requests for a token that one address may make, over
// all replicas. A replica counts alone for a second when Redis takes long to
// answer, such as for its first connection; so there are limitTries, with an
// address each. Replicas that share nothing fail each of them.
func (d *door) limitsHold(ctx context.Context) (holds bool, why string, err error) {
	for try := range limitTries {
		// What stands behind it is the ingress: an address of ours that no client has.
		address := fmt.Sprintf("192.0.2.%d", 1+(int(time.Now().UnixNano()/1000)+try)%250)
		if holds, why, err = d.limitHolds(ctx, address); holds || err != nil {
			break
		}
		if err = pause(ctx, time.Second); err != nil {
			break
		}
	}
	return holds, why, err
}

func (d *door) limitHolds(ctx context.Context, address string) (holds bool, why string, err error) {
	began, admitted, pods, odd := time.Now(), 0, []string{}, ""
	for range authTries {
		got, err := d.ask(ctx, http.MethodPost, "/auth", headers{"X-Forwarded-For": address}, map[string]any{}) // a secret would cost them a hash each
		if err != nil {
			return false, err.Error(), err
		}
		pods = append(pods, got.header.Get("X-Served-By"))
		wait, _ := strconv.Atoi(got.header.Get("Retry-After"))
		switch {
		case got.status == http.StatusBadRequest && got.Code == 10000001:
			admitted++
		case got.status != http.StatusTooManyRequests || got.Code != 10000007 || wait < 1 || got.header.Get("RateLimit") == "":
			odd = fmt.Sprintf("; one was answered with %s, Retry-After %q", got, got.header.Get("Retry-After"))
		}
	}
	slices.Sort(pods)
	replicas := len(slices.Compact(pods))
	allowed := authBurst + int(time.Since(began)/authInterval)
	return odd == "" && replicas > 1 && authBurst <= admitted && admitted <= allowed,
		fmt.Sprintf("of %d requests for a token from one address, over %d pods, %d were looked at where %d may be, and the others told when to come again%s",
			authTries, replicas, admitted, allowed, odd), nil
}
