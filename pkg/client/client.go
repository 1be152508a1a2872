// Package client is a client of the API of the tag service and the article service.
//
// A Client gets tokens and renews them, and reads lists and the feed of changes page by
// page. It is safe for concurrent use.
//
// It repeats requests after Retry-After, or after a growing pause: reads and the creation of
// objects whatever became of them, because a key makes a creation take effect once; changes
// and deletions only after a response of the service with the status 429 or 503, or 409 if
// another request was in the way.
package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Config configures a Client. Only an address is needed; reads need no token.
type Config struct {
	// URL is the address of both services, with the prefix of the path if there is one,
	// such as https://blog.example or https://example.org/blog.
	URL string
	// TagURL and ArticleURL, if not empty, are the addresses of the services if they have
	// different ones.
	TagURL, ArticleURL string
	// AppKey and AppSecret are the credentials of an API client. With them, all requests
	// have a token, so that reads see disabled objects, too.
	AppKey, AppSecret string
	// Token is a token that is used instead of AppKey and AppSecret, and is not renewed.
	Token string
	// Language is that of the messages of errors: zh, en or zh-TW; en if it is empty.
	Language string
	// HTTP sends the requests. By default it has its own connections.
	HTTP *http.Client
	// Timeout is that of each try of a request; 30 s if it is 0. Uploads and downloads have
	// 70 s at least. The context of a call
	// limits all its tries together.
	Timeout time.Duration
	// MaxRetries is the maximum number of repeats of a request; 4 if it is 0, none if it is
	// negative.
	MaxRetries int
	// MaxWait is the maximum time before a repeat; 1 min if it is 0. A request is not
	// repeated if Retry-After is longer, or if the context ends before.
	MaxWait time.Duration
	// MaxResponse is the maximum size of a response in bytes, uncompressed; 16 MiB if it
	// is 0.
	MaxResponse int64
}

// Defaults of Config.
const (
	defaultTimeout     = 30 * time.Second
	defaultRetries     = 4
	defaultMaxWait     = time.Minute
	defaultMaxResponse = 16 << 20
	maxIdleConns       = 16 // per address
	idleTimeout        = 90 * time.Second
	handshakeTimeout   = 10 * time.Second
)

// Client is a client of the API. Use New to make one.
type Client struct {
	config        Config
	tags, article string // addresses without a slash at the end
	http          *http.Client
	tokens        *tokens // nil without AppKey and Token
}

// New returns a Client. It sends no request.
func New(config Config) (*Client, error) {
	c := &Client{config: config, http: config.HTTP}
	var err error
	if c.tags, err = address(cmp.Or(config.TagURL, config.URL)); err != nil {
		return nil, err
	}
	if c.article, err = address(cmp.Or(config.ArticleURL, config.URL)); err != nil {
		return nil, err
	}
	if (config.AppKey == "") != (config.AppSecret == "") {
		return nil, errors.New("client: AppKey and AppSecret belong together")
	}
	if c.http == nil {
		transport := &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: maxIdleConns, IdleConnTimeout: idleTimeout, TLSHandshakeTimeout: handshakeTimeout,
		}
		c.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // a redirected POST would become a GET
		}}
	}
	c.config.Timeout = cmp.Or(config.Timeout, defaultTimeout)
	c.config.MaxRetries = cmp.Or(config.MaxRetries, defaultRetries)
	c.config.MaxWait = cmp.Or(config.MaxWait, defaultMaxWait)
	c.config.MaxResponse = cmp.Or(config.MaxResponse, defaultMaxResponse)
	c.config.Language = cmp.Or(config.Language, "en")
	switch {
	case config.Token != "":
		c.tokens = newTokens(nil)
		c.tokens.token = config.Token
	case config.AppKey != "":
		c.tokens = newTokens(c.login)
	}
	return c, nil
}

// address returns the address of a service without a slash at the end.
func address(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", fmt.Errorf("client: the URL %q is not that of a service, such as https://blog.example", text)
	}
	return strings.TrimRight(text, "/"), nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Token returns a token that is valid now, or "" for a Client without credentials.
func (c *Client) Token(ctx context.Context) (string, error) {
	if c.tokens == nil {
		return "", nil
	}
	return c.tokens.get(ctx)
}

// An Option changes one request.
type Option func(*call)

// IfMatch makes a change fail with PreconditionFailed unless the object still has the
// entity tag; see Tag.ETag and Article.ETag. After a 503 the change is repeated: then
// PreconditionFailed can also mean that the first try has made the change.
func IfMatch(etag string) Option { return func(c *call) { c.header.Set("If-Match", etag) } }

// IfNoneMatch makes a read fail with ErrNotModified if the object still has the entity
// tag.
func IfNoneMatch(etag string) Option {
	return func(c *call) { c.header.Set("If-None-Match", etag) }
}

// IdempotencyKey sets the key under which an object is created, once for a day. By default
// each call has a new one, so that its own repeats create nothing twice. Give one to go on
// after a crash of the program.
func IdempotencyKey(key string) Option {
	return func(c *call) { c.header.Set(keyHeader, key) }
}

const keyHeader = "Idempotency-Key"

func newKey() string { return rand.Text() }
