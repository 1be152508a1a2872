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
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/locale"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/swagger"
)

// gateway is the reverse proxy in front of the services. It has the routes of the
// ingress, and a page with the API descriptions of all services.
type gateway struct {
	routes     map[string]http.Handler // by path prefix
	index      []string                // the links of the page at "/"
	opened     chan struct{}           // closed once the services are ready
	negotiator *locale.Negotiator
}

// maxBody is the largest body that the gateway takes in; the services' own limits
// are lower.
const maxBody = 16 << 20

// newGateway returns a gateway that answers 503 until open is called.
func newGateway(all []*service, log *log.Logger) *gateway {
	g := &gateway{routes: map[string]http.Handler{}, opened: make(chan struct{}), negotiator: locale.NewNegotiator()}
	transport := &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute, DisableCompression: true,
		ExpectContinueTimeout: time.Second}
	var descriptions []swagger.Description
	for _, svc := range all {
		proxy := g.proxy(svc.url, transport, log)
		for _, prefix := range slices.Concat(svc.Paths, []string{"/swagger/" + svc.Name}) {
			g.routes[prefix] = proxy
		}
		descriptions = append(descriptions, swagger.Description{Name: svc.Name, URL: svc.Name + "/openapi.json"})
		g.index = append(g.index, svc.Paths[0])
	}
	g.routes["/swagger"] = swagger.Page("/swagger", descriptions...)
	g.index = append(g.index, "/swagger/")
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
			// The service rejects an invalid query.
			r.Out.URL.RawQuery = r.In.URL.RawQuery
			if r.Out.ContentLength > waitForConsent {
				r.Out.Header.Set("Expect", "100-continue")
			}
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if errors.Is(err, context.Canceled) {
				panic(http.ErrAbortHandler) // the client has closed the connection
			}
			log.Printf("%s %s: %v", r.Method, r.URL.Path, err)
			g.problem(w, r, errcode.Unavailable)
		},
	}
}

// waitForConsent is the size from which the gateway waits for 100 Continue before
// it sends a body: a service may reject the size and close the connection while
// the gateway is still sending, which would hide the answer.
const waitForConsent = 64 << 10

// takeIn reads the whole body, as proxies do, so that errors of the client and of
// the service differ. It reports whether the request can go on.
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
		g.serveIndex(w, r)
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
		return nil, false // "..", "." or "//", which would bypass the prefixes
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

func (g *gateway) serveIndex(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		g.problem(w, r, errcode.MethodNotAllowed)
		return
	}
	w.Header().Set("X-Request-ID", uuid.NewString())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	_ = indexPage.Execute(w, g.index)
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
// those of the services, whose answers say more than a closed connection.
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
