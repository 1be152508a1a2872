// Package apitest provides an HTTP client for tests that validates every request and
// response against an OpenAPI description.
package apitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/stretchr/testify/require"
)

const timeout = 2 * time.Minute

// Client sends requests to an API.
type Client struct {
	baseURL string
	http    *http.Client
	router  routers.Router
	options *openapi3filter.Options
	header  http.Header
}

// Case describes a request.
type Case struct {
	Method string     // GET when empty
	Path   string     // such as /api/v1/tags/1
	Query  url.Values // may also be in Path
	// The body, at most one of: a value to encode as JSON, a form, or bytes.
	JSON any
	Form url.Values
	Body []byte
	// ContentType overrides the content type of the body.
	ContentType string
	Header      http.Header
	// Invalid means that the request does not match the description. The
	// response must match it nevertheless.
	Invalid bool
	// Undescribed means that the path or method is not described. The response is
	// not validated. The test fails if path and method are described.
	Undescribed bool
}

// Result is a response.
type Result struct {
	Status int
	Header http.Header
	Body   []byte
}

// JSON decodes the body into dst.
func (r *Result) JSON(t testing.TB, dst any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(r.Body, dst), "%s", r.Body)
}

// New returns a client of a server that serves handler until the end of the test.
// openapi is the description, in JSON or YAML.
func New(t testing.TB, handler http.Handler, openapi []byte) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return NewAt(t, server.URL, openapi)
}

// NewAt returns a client of the server at baseURL.
func NewAt(t testing.TB, baseURL string, openapi []byte) *Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &Client{
		baseURL: strings.TrimSuffix(baseURL, "/"),
		router:  router(t, openapi),
		http: &http.Client{
			Transport:     transport,
			Timeout:       timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		options: &openapi3filter.Options{
			IncludeResponseStatus:             true,
			RejectWhenRequestBodyNotSpecified: true,
			SkipSettingDefaults:               true,
			MultiError:                        true,
			AuthenticationFunc:                openapi3filter.NoopAuthenticationFunc,
		},
	}
}

// described holds the routers of the descriptions that were read. It must be a package
// variable because it outlives a test: reading a description takes half a second with
// the race detector.
var described sync.Map

// router returns the router of an API description.
func router(t testing.TB, openapi []byte) routers.Router {
	t.Helper()
	if known, ok := described.Load(string(openapi)); ok {
		return known.(routers.Router)
	}
	doc, err := openapi3.NewLoader().LoadFromData(openapi)
	require.NoError(t, err)
	doc.Servers = nil // otherwise the router requires their URLs
	router, err := legacy.NewRouter(doc)
	require.NoError(t, err)
	described.Store(string(openapi), router)
	return router
}

// With returns a client that adds the headers to every request, unless the request
// has a header with the same name.
func (c *Client) With(header http.Header) *Client {
	other := *c
	other.header = header
	return &other
}

// Do sends a request and returns the response. The test fails if either does not match
// the description, or has a field, query parameter or response header that is not
// described.
func (c *Client) Do(t testing.TB, one Case) *Result {
	t.Helper()
	request, body := c.request(t, one)
	input := c.describe(t, one, request, body)
	response, err := c.http.Do(request)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	result := &Result{Status: response.StatusCode, Header: response.Header, Body: content}
	if input != nil {
		err := c.checkResponse(input, result)
		require.NoError(t, err, "%s %s: the response with status %d is not as described: %s", request.Method, request.URL, result.Status, content)
	}
	return result
}

func (c *Client) request(t testing.TB, one Case) (*http.Request, []byte) {
	t.Helper()
	body, contentType := one.body(t)
	target := c.baseURL + one.Path
	if len(one.Query) > 0 {
		target += "?" + one.Query.Encode()
	}
	request, err := http.NewRequestWithContext(t.Context(), one.method(), target, bytes.NewReader(body))
	require.NoError(t, err)
	if one.Header != nil {
		request.Header = one.Header.Clone()
	}
	for name, values := range c.header {
		if _, given := request.Header[name]; !given {
			request.Header[name] = values
		}
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	return request, body
}

func (one Case) method() string {
	if one.Method == "" {
		return http.MethodGet
	}
	return one.Method
}

func (one Case) body(t testing.TB) (body []byte, contentType string) {
	t.Helper()
	switch {
	case one.JSON != nil:
		encoded, err := json.Marshal(one.JSON)
		require.NoError(t, err)
		body, contentType = encoded, "application/json"
	case one.Form != nil:
		body, contentType = []byte(one.Form.Encode()), "application/x-www-form-urlencoded"
	default:
		body = one.Body
	}
	if one.ContentType != "" {
		contentType = one.ContentType
	}
	return body, contentType
}

// describe validates a request. It returns the input for the validation of the
// response, or nil if the request is undescribed.
func (c *Client) describe(t testing.TB, one Case, request *http.Request, body []byte) *openapi3filter.RequestValidationInput {
	t.Helper()
	clone := request.Clone(request.Context())
	clone.Body = io.NopCloser(bytes.NewReader(body))
	clone.URL = &url.URL{Path: request.URL.Path, RawPath: request.URL.RawPath, RawQuery: request.URL.RawQuery}
	route, parameters, err := c.router.FindRoute(clone)
	// The router ignores a trailing slash and empty parameters.
	if err == nil && strings.Count(route.Path, "/") != strings.Count(clone.URL.EscapedPath(), "/") {
		err = routers.ErrPathNotFound
	}
	if one.Undescribed {
		require.Error(t, err, "%s %s is described", request.Method, request.URL.Path)
		return nil
	}
	require.NoError(t, err, "%s %s is not described", request.Method, request.URL.Path)
	input := &openapi3filter.RequestValidationInput{Request: clone, PathParams: parameters, Route: route, Options: c.options}
	if !one.Invalid {
		err := c.checkRequest(input, body)
		require.NoError(t, err, "%s %s is not as described: %s", request.Method, request.URL, body)
	}
	return input
}

func (c *Client) checkRequest(input *openapi3filter.RequestValidationInput, body []byte) error {
	if strings.HasPrefix(input.Request.Header.Get("Content-Type"), "multipart/") { // of files of any type
		options := *c.options
		options.ExcludeRequestBody = true
		input.Options = &options
	}
	if err := openapi3filter.ValidateRequest(input.Request.Context(), input); err != nil {
		return err
	}
	described := input.Route.Operation.Parameters
	for name := range input.Request.URL.Query() {
		if described.GetByInAndName(openapi3.ParameterInQuery, name) == nil &&
			input.Route.PathItem.Parameters.GetByInAndName(openapi3.ParameterInQuery, name) == nil {
			return fmt.Errorf("the query parameter %s is not described", name)
		}
	}
	if input.Route.Operation.RequestBody == nil || len(body) == 0 {
		return nil
	}
	return onlyDescribed(input.Route.Operation.RequestBody.Value.Content, input.Request.Header.Get("Content-Type"), body)
}

func (c *Client) checkResponse(input *openapi3filter.RequestValidationInput, result *Result) error {
	options := *c.options
	options.ExcludeResponseBody = isOpaque(result.Header.Get("Content-Type"))
	response := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: result.Status, Header: result.Header, Options: &options,
	}
	response.SetBodyBytes(result.Body)
	if input.Request.URL.Query().Has("fields") { // a response with only these lacks others
		options := *c.options
		options.ExcludeResponseBody = true
		response.Options = &options
	}
	if err := openapi3filter.ValidateResponse(input.Request.Context(), response); err != nil {
		return err
	}
	described := input.Route.Operation.Responses.Status(result.Status)
	if described == nil {
		described = input.Route.Operation.Responses.Default()
	}
	if described == nil || described.Value == nil {
		return nil
	}
	if err := onlyDescribedHeaders(described.Value.Headers, result.Header); err != nil {
		return err
	}
	if len(result.Body) == 0 {
		return nil
	}
	if len(described.Value.Content) == 0 {
		return fmt.Errorf("no body is described for the status %d", result.Status)
	}
	contentType := result.Header.Get("Content-Type")
	if described.Value.Content.Get(contentType) == nil {
		return fmt.Errorf("the content type %q is not described", contentType)
	}
	return onlyDescribed(described.Value.Content, contentType, result.Body)
}
