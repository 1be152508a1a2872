package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"html/template"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/locale"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/swagger"
)

// gateway is the one address in front of both services. It routes what the
// ingress routes, and a page with the descriptions of both.
type gateway struct {
	routes     map[string]http.Handler // by path prefix
	opened     chan struct{}           // closed once the services are ready
	negotiator *locale.Negotiator
}

// maxBody is the largest body that the gateway takes in; the services' own limits
// are lower.
const maxBody = 16 << 20

// newGateway returns a gateway that answers 503 until open is called. tag and
// article are the base addresses of the services.
func newGateway(tag, article *url.URL, log *log.Logger) *gateway {
	g := &gateway{opened: make(chan struct{}), negotiator: locale.NewNegotiator()}
	transport := &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute, DisableCompression: true,
		ExpectContinueTimeout: time.Second}
	toTag, toArticle := g.proxy(tag, transport, log), g.proxy(article, transport, log)
	g.routes = map[string]http.Handler{
		"/api/v1/tags":     toTag,
		"/swagger/tag":     toTag,
		"/api/v1/articles": toArticle,
		"/auth":            toArticle,
		"/swagger/article": toArticle,
		"/swagger": swagger.Page("/swagger",
			swagger.Description{Name: "tag", URL: "tag/openapi.json"},
			swagger.Description{Name: "article", URL: "article/openapi.json"}),
	}
	return g
}

func (g *gateway) open() { close(g.opened) }

func (g *gateway) proxy(target *url.URL, transport http.RoundTripper, log *log.Logger) http.Handler {
	return &httputil.ReverseProxy{
		Transport: transport,
		ErrorLog:  log,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
			r.Out.Host = r.In.Host
			// What is wrong with a query is the service's to say.
			r.Out.URL.RawQuery = r.In.URL.RawQuery
			if r.Out.ContentLength > waitForConsent {
				r.Out.Header.Set("Expect", "100-continue")
			}
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if errors.Is(err, context.Canceled) {
				panic(http.ErrAbortHandler) // the client has gone
			}
			log.Printf("%s %s: %v", r.Method, r.URL.Path, err)
			g.problem(w, r, errcode.Unavailable)
		},
	}
}

// waitForConsent is the size from which a service is asked before a body is
// sent: it may refuse the size and close the connection while the gateway is still
// sending, which would hide the refusal.
const waitForConsent = 64 << 10

// takeIn reads the whole body, as proxies do, so that what is wrong with it is
// known to be the client's fault.
func (g *gateway) takeIn(w http.ResponseWriter, r *http.Request) bool {
	if r.ContentLength > maxBody {
		g.problem(w, r, errcode.TooLarge)
		return false
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
		if len(body) == 0 {
			r.Body = http.NoBody
		}
		return true
	case errors.As(err, &tooLarge):
		g.problem(w, r, errcode.TooLarge)
	case errors.Is(err, os.ErrDeadlineExceeded):
		g.problem(w, r, errcode.SlowRequest)
	default:
		g.problem(w, r, errcode.InvalidParams)
	}
	return false
}

// ServeHTTP implements http.Handler.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !closed(g.opened) {
		g.problem(w, r, errcode.Unavailable)
		return
	}
	if r.URL.Path == "/" {
		g.index(w, r)
		return
	}
	handler, ok := g.match(r.URL.Path)
	if !ok {
		g.problem(w, r, errcode.NotFound)
		return
	}
	if g.takeIn(w, r) {
		handler.ServeHTTP(w, r)
	}
}

// match returns the route of a path: the prefix itself or something below it.
func (g *gateway) match(requested string) (http.Handler, bool) {
	if strings.TrimSuffix(requested, "/") != path.Clean(requested) {
		return nil, false // "..", ".", "//": nobody shall walk around the prefixes
	}
	// The longest prefix that ends where a segment ends.
	for prefix := strings.TrimSuffix(requested, "/"); prefix != ""; prefix = prefix[:strings.LastIndexByte(prefix, '/')] {
		if handler, found := g.routes[prefix]; found {
			return handler, true
		}
	}
	return nil, false
}

var indexPage = template.Must(template.New("index").Parse(`<!doctype html>
<meta charset="utf-8">
<title>Achilles</title>
<h1>Achilles</h1>
<ul>
{{range .}}<li><a href="{{.}}">{{.}}</a></li>
{{end}}</ul>
`))

func (g *gateway) index(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		g.problem(w, r, errcode.MethodNotAllowed)
		return
	}
	w.Header().Set("X-Request-ID", uuid.NewString())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	_ = indexPage.Execute(w, []string{"/api/v1/tags", "/api/v1/articles", "/swagger/"})
}

// problem answers in the envelope of the API's errors.
func (g *gateway) problem(w http.ResponseWriter, r *http.Request, code errcode.Code) {
	language := g.negotiator.Negotiate(r.Header.Get("locale"), r.Header.Get("Accept-Language"))
	body, _ := json.Marshal(responses.Problem{Code: int(code), Msg: code.Message(language), Details: []string{}})
	header := w.Header()
	header.Set("X-Request-ID", uuid.NewString())
	header.Set("Content-Type", "application/json; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if code == errcode.Unavailable {
		header.Set("Retry-After", "1")
	}
	w.WriteHeader(code.Status())
	_, _ = w.Write(body)
}

// newGatewayServer returns the server of the gateway. Its timeouts are longer than
// those of the services, whose answers tell more than a cut connection.
func newGatewayServer(handler http.Handler, log *log.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: handler, Protocols: protocols, ErrorLog: log,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       25 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
}
