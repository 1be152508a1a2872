package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	"unicode"

	"github.com/google/uuid"
	"golang.org/x/sync/semaphore"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/locale"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/swagger"
)

// gateway is the reverse proxy in front of the services. It has the routes of the
// ingress, and a page with the API descriptions of all services.
type gateway struct {
	routes     map[string]http.Handler // by path prefix
	index      []string                // the links of the page at "/"
	opened     chan struct{}           // closed once the services are ready
	negotiator *locale.Negotiator
	bodies     *semaphore.Weighted // bytes of all bodies that are held
}

const (
	// uploadPath is the route of uploads.
	uploadPath = "/api/v1/file/upload"
	// responseTimeout is longer than an export takes.
	responseTimeout = 3 * time.Minute
	// maxBody is the largest body that the gateway takes in, except of uploads; the services'
	// own limits are lower.
	maxBody = 16 << 20
	// maxBodies is the maximum size of all bodies that the gateway holds at once.
	maxBodies = 8 * maxBody
)

// newGateway returns a gateway that answers 503 until open is called.
func newGateway(all []*service, log *log.Logger) *gateway {
	g := &gateway{routes: map[string]http.Handler{}, opened: make(chan struct{}), negotiator: locale.NewNegotiator(),
		bodies: semaphore.NewWeighted(maxBodies)}
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
			for name := range r.Out.Header { // what the client says of proxies
				if strings.HasPrefix(name, "X-Forwarded-") || name == "X-Real-Ip" {
					r.Out.Header.Del(name)
				}
			}
			r.SetXForwarded()
			r.Out.Host = r.In.Host
			// The service rejects an invalid query.
			r.Out.URL.RawQuery = r.In.URL.RawQuery
			if r.Out.ContentLength > waitForConsent || isUpload(r.In) {
				r.Out.Header.Set("Expect", "100-continue")
			}
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if errors.Is(err, context.Canceled) {
				panic(http.ErrAbortHandler) // the client has closed the connection
			}
			if _, ok := errors.AsType[bodyError](err); ok {
				g.bodyProblem(w, r, err)
				return
			}
			log.Print(oneLine(fmt.Sprintf("%s %s: %v", r.Method, r.URL.Path, err)))
			g.problem(w, r, errcode.Unavailable)
		},
	}
}

// waitForConsent is the size from which the gateway waits for 100 Continue before
// it sends a body: a service may reject the size and close the connection while
// the gateway is still sending, which would hide the answer.
const waitForConsent = 64 << 10

// oneLine escapes control characters, which clients can send in paths and which would
// begin another line of the log.
func oneLine(text string) string {
	if !strings.ContainsFunc(text, unicode.IsControl) {
		return text
	}
	return strconv.Quote(text)
}

// isUpload reports whether a request may have the body of an upload, which is larger and slower
// than others.
func isUpload(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.Path == uploadPath
}

// uploadBody is the body of an upload. Its errors are of the type bodyError.
type uploadBody struct{ io.ReadCloser }

// Read implements io.Reader.
func (b uploadBody) Read(part []byte) (int, error) {
	n, err := b.ReadCloser.Read(part)
	if err != nil && err != io.EOF { // never wrapped
		err = bodyError{err}
	}
	return n, err
}

// bodyError is an error of a body that the client sends.
type bodyError struct{ error }

// Unwrap returns the cause.
func (e bodyError) Unwrap() error { return e.error }

// finalWriter leaves 100 Continue to net/http, which sends it to clients that wait for it. That of
// a service answers the gateway.
type finalWriter struct{ http.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w finalWriter) WriteHeader(status int) {
	if status != http.StatusContinue {
		w.ResponseWriter.WriteHeader(status)
	}
}

// Unwrap is for http.ResponseController.
func (w finalWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// forward passes a request on with its whole body, which it reads first, as proxies do,
// so that errors of the client and of the service differ. An upload is passed on as it comes: the
// service bounds its size and its time.
func (g *gateway) forward(w http.ResponseWriter, r *http.Request, handler http.Handler) {
	w = finalWriter{w}
	if isUpload(r) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(transferTimeout + server.TransferMargin))
		r.Body = uploadBody{r.Body}
		handler.ServeHTTP(w, r)
		return
	}
	size := r.ContentLength
	switch {
	case size > maxBody:
		g.bodyProblem(w, r, &http.MaxBytesError{Limit: maxBody})
		return
	case size < 0: // unknown
		size = maxBody
	}
	if !g.bodies.TryAcquire(size) {
		g.problem(w, r, errcode.Unavailable)
		return
	}
	defer g.bodies.Release(size)
	if g.takeIn(w, r) {
		handler.ServeHTTP(w, r)
	}
}

// takeIn reads the body. It reports whether the request can go on.
func (g *gateway) takeIn(w http.ResponseWriter, r *http.Request) bool {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		g.bodyProblem(w, r, err)
		return false
	}
	r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
	if len(body) == 0 {
		r.Body = http.NoBody
	}
	return true
}

// bodyProblem answers that a body can't be read.
func (g *gateway) bodyProblem(w http.ResponseWriter, r *http.Request, err error) {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		g.answer(w, r, http.StatusRequestEntityTooLarge, errcode.TooLarge, errcode.Text{
			ZH:       fmt.Sprintf("网关最多接受%d字节", tooLarge.Limit),
			EN:       fmt.Sprintf("the gateway accepts at most %d bytes", tooLarge.Limit),
			ZHHantTW: fmt.Sprintf("閘道最多接受%d位元組", tooLarge.Limit),
		})
	case errors.Is(err, os.ErrDeadlineExceeded):
		g.problem(w, r, errcode.SlowRequest)
	default:
		g.problem(w, r, errcode.InvalidParams)
	}
}

// ServeHTTP implements http.Handler.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !closed(g.opened) {
		g.problem(w, r, errcode.Unavailable)
		return
	}
	if !g.understands(w, r) {
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
	g.forward(w, r, handler)
}

// understands answers requests that expect or ask for what the gateway does not
// support, and reports whether the request can go on. It ignores an offer to switch
// to HTTP/2, which clients can use without one.
func (g *gateway) understands(w http.ResponseWriter, r *http.Request) bool {
	switching := strings.Contains(strings.ToLower(strings.Join(r.Header.Values("Connection"), ",")), "upgrade")
	upgrade, expect := strings.Join(r.Header.Values("Upgrade"), ", "), strings.Join(r.Header.Values("Expect"), ", ")
	r.Header.Del("Upgrade")
	switch {
	case switching && upgrade != "" && !strings.EqualFold(upgrade, "h2c"):
		g.refuse(w, r, http.StatusNotImplemented, noUpgrade)
	case expect != "" && !strings.EqualFold(expect, "100-continue"): // HTTP/2: with HTTP/1 net/http answers
		g.refuse(w, r, http.StatusExpectationFailed, noExpectation)
	default:
		return true
	}
	return false
}

var (
	noUpgrade = errcode.Text{
		ZH:       "网关不支持切换协议, 请去掉请求头 Upgrade",
		EN:       "the gateway does not switch protocols, remove the header Upgrade",
		ZHHantTW: "閘道不支援切換協定, 請移除請求標頭 Upgrade",
	}
	noExpectation = errcode.Text{
		ZH:       "请求头 Expect 只支持 100-continue",
		EN:       "the header Expect must be 100-continue, or be removed",
		ZHHantTW: "請求標頭 Expect 只支援 100-continue",
	}
)

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
	g.answer(w, r, code.Status(), code)
}

// refuse answers that the gateway does not support what the request asks for.
func (g *gateway) refuse(w http.ResponseWriter, r *http.Request, status int, text errcode.Text) {
	g.answer(w, r, status, errcode.InvalidParams, text)
}

func (g *gateway) answer(w http.ResponseWriter, r *http.Request, status int, code errcode.Code, texts ...errcode.Text) {
	language := g.negotiator.Negotiate(r.Header.Get("locale"), r.Header.Get("Accept-Language"))
	details := []string{}
	for _, text := range texts {
		details = append(details, text.In(language))
	}
	body, _ := json.Marshal(responses.Problem{Code: int(code), Msg: code.Message(language), Details: details, Errors: []responses.FieldError{}})
	header := w.Header()
	header.Set("X-Request-ID", uuid.NewString())
	header.Set("Content-Type", "application/json; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if code == errcode.Unavailable {
		header.Set("Retry-After", "1")
	}
	w.WriteHeader(status)
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
		WriteTimeout:      responseTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
}
