package client

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// Parts of the lifetime of a token.
const (
	// A token is renewed when a tenth of its lifetime is left, at most maxRest.
	restOfLifetime = 10
	maxRest        = time.Minute
	// renewalPause is the time between tries to renew a token that is still valid.
	renewalPause = 5 * time.Second
)

// tokens keeps the token of a Client.
type tokens struct {
	login func(context.Context) (token string, lifetime time.Duration, err error) // nil: there is only one token
	lock  chan struct{}                                                           // held while token is used or renewed
	token string
	// renew is when to renew the token, and expires when it becomes invalid. Both are zero
	// for a token that is not renewed.
	renew, expires time.Time
}

func newTokens(login func(context.Context) (string, time.Duration, error)) *tokens {
	return &tokens{login: login, lock: make(chan struct{}, 1)}
}

// get returns a valid token. Calls that need a new one wait for the first of them, but not
// longer than their context.
func (t *tokens) get(ctx context.Context) (string, error) {
	select {
	case t.lock <- struct{}{}:
		defer func() { <-t.lock }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	now := time.Now()
	if t.login == nil || t.token != "" && now.Before(t.renew) {
		return t.token, nil
	}
	token, lifetime, err := t.login(ctx)
	switch {
	case err == nil:
		t.token, t.expires = token, now.Add(lifetime)
		t.renew = t.expires.Add(-min(lifetime/restOfLifetime, maxRest))
	case t.token != "" && now.Before(t.expires) && ctx.Err() == nil:
		t.renew = now.Add(renewalPause)
	default:
		return "", err
	}
	return t.token, nil
}

// rejected forgets a token that a service has rejected. It reports whether there may be
// another one.
func (t *tokens) rejected(ctx context.Context, token string) bool {
	select {
	case t.lock <- struct{}{}:
		defer func() { <-t.lock }()
	case <-ctx.Done():
		return false
	}
	if t.token == token && t.login != nil {
		t.token = ""
	}
	return t.login != nil
}

// login gets a token.
func (c *Client) login(ctx context.Context) (token string, lifetime time.Duration, err error) {
	body, err := json.Marshal(map[string]string{"app_key": c.config.AppKey, "app_secret": c.config.AppSecret})
	if err != nil {
		return "", 0, err
	}
	var data struct {
		Token     string
		ExpiresIn int64 `json:"expires_in"`
	}
	request := newCall(http.MethodPost, c.article, "/auth", body)
	request.withoutToken, request.repeatable = true, true
	if _, err = c.do(ctx, request, &envelope{Data: &data}); err != nil {
		return "", 0, err
	}
	return data.Token, time.Duration(data.ExpiresIn) * time.Second, nil
}
