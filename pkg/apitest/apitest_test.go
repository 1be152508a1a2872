package apitest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/achilles-blog/achilles/pkg/apitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const description = `
openapi: 3.0.3
info: {title: pets, version: "1"}
servers: [{url: "https://example.org/"}]
paths:
  /pets:
    get:
      parameters:
        - {name: page, in: query, schema: {type: integer}}
      responses:
        "200":
          description: ok
          headers: {X-Seen: {schema: {type: string}}}
          content: {application/json: {schema: {$ref: "#/components/schemas/List"}}}
    post:
      requestBody:
        required: true
        content:
          application/json: {schema: {$ref: "#/components/schemas/NewPet"}}
          application/x-www-form-urlencoded: {schema: {$ref: "#/components/schemas/NewPet"}}
      responses:
        "201":
          description: created
          headers: {Location: {required: true, schema: {type: string}}}
          content: {application/json: {schema: {$ref: "#/components/schemas/Pet"}}}
        default: {description: failed, content: {application/json: {schema: {$ref: "#/components/schemas/Problem"}}}}
  /pets/{id}:
    delete:
      parameters:
        - {name: id, in: path, required: true, schema: {type: integer, minimum: 1}}
      responses:
        "204": {description: gone}
        "404": {description: missing, content: {application/json: {schema: {$ref: "#/components/schemas/Problem"}}}}
components:
  schemas:
    NewPet:
      type: object
      required: [name]
      properties: {name: {type: string, minLength: 1}, tags: {type: array, items: {type: integer}}}
    Pet:
      allOf:
        - $ref: "#/components/schemas/NewPet"
        - {type: object, required: [id], properties: {id: {type: integer}, labels: {type: object, additionalProperties: {$ref: "#/components/schemas/NewPet"}}}}
    List:
      type: object
      required: [list]
      properties: {list: {type: array, items: {$ref: "#/components/schemas/Pet"}}}
    Problem:
      type: object
      required: [code]
      properties: {code: {type: integer}}
`

// recorder records the failure of a test.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper()                           {}
func (r *recorder) Errorf(format string, args ...any) { r.failure += fmt.Sprintf(format, args...) }
func (r *recorder) FailNow()                          { panic(r) }

// failure returns the failure message of a test that sends one request.
func failure(t *testing.T, answer http.HandlerFunc, one apitest.Case) (text string) {
	client := apitest.New(t, answer, []byte(description))
	r := &recorder{TB: t}
	defer func() {
		if caught := recover(); caught != nil && caught != any(r) {
			panic(caught)
		}
		text = r.failure
	}()
	client.Do(r, one)
	return ""
}

func answer(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if body != "" {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
		}
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func TestDo(t *testing.T) {
	created := answer(201, `{"id":1,"name":"a"}`, "Location", "/pets/1")
	post := func(body any) apitest.Case {
		return apitest.Case{Method: "POST", Path: "/pets", JSON: body}
	}
	type object = map[string]any
	cases := map[string]struct {
		answer http.HandlerFunc
		one    apitest.Case
		want   string // part of the failure; "" for none
	}{
		"as described":                          {created, post(object{"name": "a"}), ""},
		"form":                                  {created, apitest.Case{Method: "POST", Path: "/pets", Form: url.Values{"name": {"a"}, "tags": {"1", "2"}}}, ""},
		"raw body":                              {created, apitest.Case{Method: "POST", Path: "/pets", Body: []byte(`{"name":"a"}`), ContentType: "application/json"}, ""},
		"query":                                 {answer(200, `{"list":[]}`), apitest.Case{Path: "/pets", Query: url.Values{"page": {"2"}}}, ""},
		"map of described values":               {answer(201, `{"id":1,"name":"a","labels":{"x":{"name":"b"}}}`, "Location", "/"), post(object{"name": "a"}), ""},
		"no body":                               {answer(204, ""), apitest.Case{Method: "DELETE", Path: "/pets/1"}, ""},
		"request without a field":               {created, post(object{}), `property "name" is missing`},
		"request with an unknown field":         {created, post(object{"name": "a", "nmae": "b"}), "the field /nmae is not described"},
		"form with an unknown field":            {created, apitest.Case{Method: "POST", Path: "/pets", Form: url.Values{"name": {"a"}, "x": {"1"}}}, "the field /x is not described"},
		"unknown query parameter":               {answer(200, `{"list":[]}`), apitest.Case{Path: "/pets?size=1"}, "the query parameter size is not described"},
		"query parameter of wrong type":         {answer(200, `{"list":[]}`), apitest.Case{Path: "/pets?page=x"}, "page"},
		"path parameter of wrong type":          {answer(204, ""), apitest.Case{Method: "DELETE", Path: "/pets/x"}, "id"},
		"content type":                          {created, apitest.Case{Method: "POST", Path: "/pets", Body: []byte("x"), ContentType: "text/plain"}, "Content-Type"},
		"body where none is described":          {answer(204, ""), apitest.Case{Method: "DELETE", Path: "/pets/1", JSON: 1}, "request body not allowed"},
		"unknown path":                          {created, apitest.Case{Path: "/cats"}, "is not described"},
		"trailing slash":                        {answer(200, `{"list":[]}`), apitest.Case{Path: "/pets/"}, "is not described"},
		"undescribed trailing slash":            {answer(404, ""), apitest.Case{Path: "/pets/", Undescribed: true}, ""},
		"empty parameter":                       {answer(405, ""), apitest.Case{Method: "DELETE", Path: "/pets", Undescribed: true}, ""},
		"unknown method":                        {created, apitest.Case{Method: "PUT", Path: "/pets"}, "is not described"},
		"invalid request":                       {answer(400, `{"code":1}`), apitest.Case{Method: "POST", Path: "/pets", JSON: object{}, Invalid: true}, ""},
		"invalid request and response":          {answer(400, `{"kode":1}`), apitest.Case{Method: "POST", Path: "/pets", JSON: object{}, Invalid: true}, "status 400"},
		"undescribed":                           {answer(404, `anything`), apitest.Case{Path: "/cats", Undescribed: true}, ""},
		"described though undescribed expected": {answer(200, `{"list":[]}`), apitest.Case{Path: "/pets", Undescribed: true}, "is described"},
		"response without a field":              {answer(201, `{"name":"a"}`, "Location", "/"), post(object{"name": "a"}), `property "id" is missing`},
		"response with an unknown field":        {answer(201, `{"id":1,"name":"a","secret":1}`, "Location", "/"), post(object{"name": "a"}), "the field /secret is not described"},
		"nested unknown field":                  {answer(200, `{"list":[{"id":1,"name":"a"},{"id":2,"name":"b","x":null}]}`), apitest.Case{Path: "/pets"}, "the field /list/1/x is not described"},
		"null instead of a list":                {answer(200, `{"list":null}`), apitest.Case{Path: "/pets"}, "not as described"},
		"response without its header":           {answer(201, `{"id":1,"name":"a"}`), post(object{"name": "a"}), "Location"},
		"response with an unknown header":       {answer(201, `{"id":1,"name":"a"}`, "Location", "/", "X-Unknown", "1"), post(object{"name": "a"}), "the header X-Unknown is not described"},
		"standard headers":                      {answer(201, `{"id":1,"name":"a"}`, "Location", "/", "Connection", "close"), post(object{"name": "a"}), ""},
		"undescribed status":                    {answer(500, `{"code":1}`), apitest.Case{Path: "/pets"}, "status is not supported"},
		"body without a description":            {answer(200, `{}`), apitest.Case{Method: "DELETE", Path: "/pets/1"}, "status is not supported"},
		"plain text instead of JSON":            {answer(404, `no such page`, "Content-Type", "text/plain"), apitest.Case{Method: "DELETE", Path: "/pets/1"}, `the content type "text/plain" is not described`},
		"redirect":                              {answer(302, "", "Location", "/elsewhere"), apitest.Case{Path: "/pets"}, "status 302"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := failure(t, c.answer, c.one)
			if c.want == "" {
				require.Empty(t, got)
				return
			}
			require.Contains(t, got, c.want)
		})
	}
}

func TestRequest(t *testing.T) {
	client := apitest.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Seen", fmt.Sprint(r.Method, r.URL, r.Header.Get("Locale"), r.PostForm))
		_, _ = fmt.Fprint(w, `{"list":[{"id":5,"name":"a"}]}`)
	}), []byte(description))
	result := client.Do(t, apitest.Case{Path: "/pets?page=2", Header: http.Header{"Locale": {"en"}}})
	require.Equal(t, 200, result.Status)
	require.Equal(t, "GET/pets?page=2enmap[]", result.Header.Get("X-Seen"))
	var body struct{ List []struct{ ID int } }
	result.JSON(t, &body)
	require.Equal(t, 5, body.List[0].ID)
}
