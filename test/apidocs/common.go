package main

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// operation is one method of one path.
type operation struct {
	path, method string
	*openapi3.Operation
}

func (o operation) internal() bool { return strings.HasPrefix(o.path, "/internal/") }

func (o operation) writes() bool { return o.method != http.MethodGet && o.method != http.MethodHead }

func (o operation) takesBody() bool { return o.RequestBody != nil }

func (o operation) takesQuery() bool {
	return slices.ContainsFunc(o.Parameters, func(p *openapi3.ParameterRef) bool { return p.Value.In == openapi3.ParameterInQuery })
}

func (o operation) takes(header string) bool {
	return o.Parameters.GetByInAndName(openapi3.ParameterInHeader, header) != nil
}

func (o operation) takesToken() bool {
	return o.Security != nil && slices.ContainsFunc(*o.Security, func(needed openapi3.SecurityRequirement) bool {
		_, found := needed["AppToken"]
		return found
	})
}

// hasVersion reports whether the operation answers with an ETag, for If-Match and
// If-None-Match.
func (o operation) hasVersion() bool {
	return !o.uploads() && (o.takes("If-None-Match") || o.takes("Idempotency-Key") && !o.isBatch() || o.takes("If-Match") && o.method != http.MethodDelete)
}

// isBatch reports whether the operation creates several objects.
func (o operation) isBatch() bool { return strings.HasSuffix(o.path, "/batch") }

// uploads reports whether the operation takes files.
func (o operation) uploads() bool {
	return o.takesBody() && o.RequestBody.Value.Content.Get("multipart/form-data") != nil
}

// downloads reports whether the operation answers with a file.
func (o operation) downloads() bool { return o.Responses.Status(http.StatusPartialContent) != nil }

// commonAnswers returns the descriptions of the answers that operations share, by
// status, so that the annotations need only have the others.
func commonAnswers(o operation) map[int]string {
	answers := map[int]string{
		500: "a fault of the service (10000000, or the operation's own code)",
		503: "temporarily unavailable (10000014)",
		504: "took too long (10000015)",
	}
	if o.takesToken() && o.writes() {
		answers[503] = "temporarily unavailable (10000014), or read-only (10000022)"
	}
	for _, common := range []struct {
		status      int
		description string
		has         bool
	}{
		{304, "the client has this answer already", o.takes("If-None-Match")},
		{401, "a token that is wrong or expired, or none where one is needed (10000004, 10000005)", o.takesToken()},
		{403, "a token without the scope write (10000013)", o.takesToken() && o.writes()},
		{408, "the body arrived too slowly (10000016)", o.takesBody()},
		{409, "the first request under the Idempotency-Key still runs (10000021)", o.takes("Idempotency-Key")},
		{412, "not the version of If-Match any more, or that of If-None-Match (10000009)", o.takes("If-Match")},
		{413, "the body is too large (10000010)", true},
		{415, "unsupported media type (10000011)", o.takesBody()},
		{422, "the Idempotency-Key was used for another request (10000020)", o.takes("Idempotency-Key")},
		{429, "too many requests (10000007)", !o.internal()},
	} {
		if common.has {
			answers[common.status] = common.description
		}
	}
	return answers
}

// addAnswers adds the common answers. If the annotations have the status, too, the
// answer has both descriptions. The example of an error has the code that its
// description names first.
func addAnswers(o operation, problem, details *openapi3.SchemaRef) error {
	for status, description := range commonAnswers(o) {
		if own := o.Responses.Status(status); own != nil {
			description = *own.Value.Description + "; " + description
		}
		o.Responses.Set(strconv.Itoa(status), &openapi3.ResponseRef{Value: openapi3.NewResponse().WithDescription(description)})
	}
	for status, answer := range o.Responses.Map() {
		if status < "400" {
			continue
		}
		shown, err := problemExample(o, status, *answer.Value.Description)
		if err != nil {
			return fmt.Errorf("%s %s: %w", o.method, o.path, err)
		}
		answer.Value.Content = openapi3.NewContentWithJSONSchemaRef(problem)
		answer.Value.Content.Get("application/json").Example = shown
		answer.Value.Content["application/problem+json"] = openapi3.NewMediaType().WithSchemaRef(details)
	}
	return nil
}

// problemExample returns an error with the first code that the description names.
func problemExample(o operation, status, description string) (map[string]any, error) {
	number, err := strconv.Atoi(regexp.MustCompile(`\b[12]00\d{5}\b`).FindString(description))
	if err != nil {
		return nil, fmt.Errorf("the description of status %s names no code: %s", status, description)
	}
	code := errcode.Code(number)
	if strconv.Itoa(code.Status()) != status {
		return nil, fmt.Errorf("code %d has status %d, not %s", number, code.Status(), status)
	}
	details, fields := []any{}, []any{}
	if code == errcode.InvalidParams {
		field, message := o.invalid()
		details = append(details, message)
		fields = append(fields, map[string]any{"field": field, "code": string(errcode.InvalidType), "message": message})
	}
	return map[string]any{"code": float64(number), "msg": code.Message("en"), "details": details, "errors": fields}, nil
}

// invalid returns a field and a detail of the code InvalidParams, as the service
// words it.
func (o operation) invalid() (field, message string) {
	switch {
	case strings.Contains(o.path, "{id}"):
		return "id", "id must be a positive integer: x"
	case strings.Contains(o.path, "{file_id}"):
		return "id", "id must be a positive integer: x"
	case o.uploads():
		return "file", "file is a required field"
	case strings.Contains(o.path, "{slug}"):
		return "slug", "slug must be at most 100 lower-case letters a-z, digits and single hyphens between them, such as rolling-restarts"
	case o.takesBody():
		return "", "the body must be a JSON object"
	case o.firstNumber() == "":
		return "tag", "tag must not be blank"
	default:
		return o.firstNumber(), o.firstNumber() + " must be an integer"
	}
}

// problemDetails returns the schema of an error in the format of RFC 9457. Its
// errors are those of the problem.
func problemDetails(problem *openapi3.Schema) *openapi3.Schema {
	schema := openapi3.NewObjectSchema().
		WithProperty("type", openapi3.NewStringSchema().WithFormat("uri")).
		WithProperty("title", openapi3.NewStringSchema()).
		WithProperty("status", openapi3.NewIntegerSchema()).
		WithProperty("detail", openapi3.NewStringSchema()).
		WithProperty("instance", openapi3.NewStringSchema().WithFormat("uri-reference")).
		WithPropertyRef("code", problem.Properties["code"]).
		WithPropertyRef("errors", problem.Properties["errors"]).
		WithPropertyRef("next", problem.Properties["next"])
	schema.Description = "an error as RFC 9457 has it, for clients that accept application/problem+json"
	schema.Required = []string{"code", "errors", "status", "title", "type"}
	return schema
}

// firstNumber returns the name of the first query parameter that is a number.
func (o operation) firstNumber() string {
	for _, parameter := range o.Parameters {
		if p := parameter.Value; p.In == openapi3.ParameterInQuery && p.Schema.Value.Type.Is("integer") {
			return p.Name
		}
	}
	return ""
}

// header is a header field that many answers have.
type header struct {
	name, description string
	// always is false if the answer may lack it.
	always bool
	in     func(o operation, status int) bool
}

func commonHeaders() []header {
	every := func(operation, int) bool { return true }
	success := func(status int) bool { return status < 300 }
	limited := func(o operation, status int) bool { return !o.internal() || status == 401 || status == 429 }
	created := func(_ operation, status int) bool { return status == http.StatusCreated }
	sent := func(o operation, status int) bool { return o.downloads() && success(status) }
	versioned := func(o operation, status int) bool {
		return o.hasVersion() && (success(status) || status == http.StatusNotModified)
	}
	return []header{
		{"Content-Language", "language of msg and details", true, every},
		{"X-Request-ID", "name of this exchange in the service's log; the client's own where it sent one", true, every},
		{"RateLimit-Policy", "what the client may ask: burst q, whole again after w seconds (draft-ietf-httpapi-ratelimit-headers); absent where limits are off", false, limited},
		{"RateLimit", "what is left of it: r requests, one more after t seconds", false, limited},
		{"Retry-After", "seconds until another try makes sense", false, func(o operation, status int) bool {
			return status == 429 || status == 503 || status == 504 || status == 409 && o.takes("Idempotency-Key") || status == 200 && o.isBatch()
		}},
		{"WWW-Authenticate", "what the token lacks (RFC 6750, 3)", true,
			func(_ operation, status int) bool { return status == 401 || status == 403 }},
		{"ETag", "name of exactly this version", true, versioned},
		{"Cache-Control", "who may keep the answer, and how long", true, every},
		{"Vary", "the request's headers that the answer depends on", true, every},
		{"X-Ignored-Fields", "names in the request that this release doesn't know, and has ignored", false, func(o operation, _ int) bool { return o.takesBody() || o.takesQuery() }},
		{"Content-Location", "address of the article", true, func(o operation, status int) bool {
			return strings.HasSuffix(o.path, "/slug/{slug}") && (success(status) || status == http.StatusNotModified)
		}},
		{"Accept-Patch", "media types that the path accepts in a PATCH (RFC 5789)", true, func(o operation, status int) bool {
			return status == http.StatusUnsupportedMediaType && o.RequestBody.Value.Content.Get("application/merge-patch+json") != nil
		}},
		{"Link", "the pages next, prev (of a page with a number) and first, as RFC 8288 has it; one that would be too long is left out", false,
			func(o operation, status int) bool {
				return o.lists() && (success(status) || status == http.StatusNotModified)
			}},
		{"Location", "address of the new object", true, func(o operation, status int) bool { return created(o, status) && !o.isBatch() }},
		{"Content-Disposition", "whether browsers show or save the file, and its name (RFC 6266)", true, sent},
		{"Accept-Ranges", "bytes: ranges can be asked for", true, sent},
		{"Content-Range", "the range that is sent, if it is one; of an error, the size of the file", false, func(o operation, status int) bool {
			return o.downloads() && (status == http.StatusPartialContent || status == http.StatusRequestedRangeNotSatisfiable)
		}},
		{"Cross-Origin-Resource-Policy", "cross-origin: other sites may show it", true, sent},
		{"Idempotency-Replayed", "true where it is the first answer, again", false, created},
	}
}

// anyType is the media type of files.
const anyType = "*/*"

// describeFiles describes the bodies that are files: an upload may have several, and a
// download is of any type.
func describeFiles(o operation) {
	if o.uploads() {
		file := o.RequestBody.Value.Content.Get("multipart/form-data").Schema.Value.Properties["file"]
		one := openapi3.NewStringSchema().WithFormat("binary")
		list := openapi3.NewArraySchema().WithItems(one).WithMinItems(1)
		list.Description = file.Value.Description
		file.Value = list
	}
	if !o.downloads() {
		return
	}
	for _, status := range []int{http.StatusOK, http.StatusPartialContent} {
		content := o.Responses.Status(status).Value.Content
		for kind, body := range content {
			delete(content, kind)
			content[anyType] = body
		}
	}
}

// addHeaders adds the common header fields to all answers, and those that an answer has to
// used.
func addHeaders(o operation, headers []header, used openapi3.Headers) {
	for status, answer := range o.Responses.Map() {
		number, err := strconv.Atoi(status)
		if err != nil {
			continue
		}
		for _, h := range headers {
			if !h.in(o, number) {
				continue
			}
			if answer.Value.Headers == nil {
				answer.Value.Headers = openapi3.Headers{}
			}
			used[h.name] = &openapi3.HeaderRef{Value: h.value()}
			answer.Value.Headers[h.name] = &openapi3.HeaderRef{Ref: "#/components/headers/" + h.name, Value: h.value()}
		}
	}
}

func (h header) value() *openapi3.Header {
	return &openapi3.Header{Parameter: openapi3.Parameter{
		Description: h.description, Required: h.always, Schema: openapi3.NewStringSchema().NewRef(),
	}}
}

// addCommon adds the common parameters, answers and header fields to every
// operation.
func addCommon(description *openapi3.T) error {
	headers := commonHeaders()
	description.Components.Headers = openapi3.Headers{}
	problem := &openapi3.SchemaRef{Ref: "#/components/schemas/Problem", Value: description.Components.Schemas["Problem"].Value}
	description.Components.Schemas["ProblemDetails"] = problemDetails(problem.Value).NewRef()
	details := &openapi3.SchemaRef{Ref: "#/components/schemas/ProblemDetails", Value: description.Components.Schemas["ProblemDetails"].Value}
	for path, item := range description.Paths.Map() {
		for method, described := range item.Operations() {
			o := operation{path, method, described}
			addParameters(o)
			describeFiles(o)
			if err := addAnswers(o, problem, details); err != nil {
				return err
			}
			addHeaders(o, headers, description.Components.Headers)
			if o.Security == nil { // needs no token
				o.Security = openapi3.NewSecurityRequirements()
			}
			if o.takesToken() && !o.writes() { // anybody may read
				*o.Security = append(openapi3.SecurityRequirements{openapi3.NewSecurityRequirement()}, *o.Security...)
			}
			if method == http.MethodHead {
				asHead(o)
			}
		}
	}
	return nil
}

// asHead removes the content of the answers to a GET, which HEAD lacks.
func asHead(o operation) {
	o.OperationID += "Head"
	for _, answer := range o.Responses.Map() {
		answer.Value.Content = nil
	}
}
