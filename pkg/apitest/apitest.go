// Package apitest is an HTTP client for tests which holds every exchange
// against the API's OpenAPI description, so that neither can drift from the
// other.
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
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/stretchr/testify/require"
)

const timeout = 2 * time.Minute

// Client speaks to one API.
type Client struct {
	baseURL string
	http    *http.Client
	router  routers.Router
	options *openapi3filter.Options
	header  http.Header
}

// Case is one request.
type Case struct {
	Method string     // GET when empty
	Path   string     // with the ids filled in, such as /api/v1/tags/1
	Query  url.Values // may also stand in Path
	// The body, at most one of them: JSON is encoded, Form too, Body is sent as
	// it is.
	JSON any
	Form url.Values
	Body []byte
	// ContentType replaces the one that goes with the body.
	ContentType string
	Header      http.Header
	// Invalid says that the request breaks the description on purpose. The
	// answer must keep to it all the same.
	Invalid bool
	// Undescribed says that path or method are unknown on purpose. Nothing is
	// checked then; that they are described after all fails the test.
	Undescribed bool
}

// Result is the answer.
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

// New serves handler on a real connection until the end of the test. openapi is
// the description, as JSON or YAML.
func New(t testing.TB, handler http.Handler, openapi []byte) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return NewAt(t, server.URL, openapi)
}

// NewAt speaks to a server that runs at baseURL.
func NewAt(t testing.TB, baseURL string, openapi []byte) *Client {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(openapi)
	require.NoError(t, err)
	doc.Servers = nil // the test's server stands for each of them
	router, err := legacy.NewRouter(doc)
	require.NoError(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &Client{
		baseURL: strings.TrimSuffix(baseURL, "/"),
		router:  router,
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

// With is the same client with header fields in every request that has no
// field of the same name.
func (c *Client) With(header http.Header) *Client {
	other := *c
	other.header = header
	return &other
}

// Do sends a request and returns its answer. The test fails when either is not
// as described, down to a field of the body or a header that the description
// does not have.
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
		err := c.checkAnswer(input, result)
		require.NoError(t, err, "%s %s answered %d, not as described: %s", request.Method, request.URL, result.Status, content)
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

// describe finds what the description says of the request; nil when it is to
// say nothing.
func (c *Client) describe(t testing.TB, one Case, request *http.Request, body []byte) *openapi3filter.RequestValidationInput {
	t.Helper()
	copied := request.Clone(request.Context())
	copied.Body = io.NopCloser(bytes.NewReader(body))
	copied.URL = &url.URL{Path: request.URL.Path, RawPath: request.URL.RawPath, RawQuery: request.URL.RawQuery}
	route, parameters, err := c.router.FindRoute(copied)
	// The router forgives a slash at the end, and a parameter that is empty.
	if err == nil && strings.Count(route.Path, "/") != strings.Count(copied.URL.EscapedPath(), "/") {
		err = routers.ErrPathNotFound
	}
	if one.Undescribed {
		require.Error(t, err, "%s %s is described after all", request.Method, request.URL.Path)
		return nil
	}
	require.NoError(t, err, "%s %s is not described", request.Method, request.URL.Path)
	input := &openapi3filter.RequestValidationInput{Request: copied, PathParams: parameters, Route: route, Options: c.options}
	if !one.Invalid {
		err := c.checkRequest(input, body)
		require.NoError(t, err, "%s %s is not as described: %s", request.Method, request.URL, body)
	}
	return input
}

func (c *Client) checkRequest(input *openapi3filter.RequestValidationInput, body []byte) error {
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

func (c *Client) checkAnswer(input *openapi3filter.RequestValidationInput, result *Result) error {
	answer := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: result.Status, Header: result.Header, Options: c.options,
	}
	answer.SetBodyBytes(result.Body)
	if err := openapi3filter.ValidateResponse(input.Request.Context(), answer); err != nil {
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
	return onlyDescribed(described.Value.Content, result.Header.Get("Content-Type"), result.Body)
}
