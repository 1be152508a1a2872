package main

import (
	"net/http"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
)

// An operation gets the common parameters of what it does, once, after its own.
func TestCommonParameters(t *testing.T) {
	list := &openapi3.SchemaRef{Ref: "#/components/schemas/TagListEnvelope"}
	for name, test := range map[string]struct {
		method, path string
		status       int
		schema       *openapi3.SchemaRef
		own, want    []string
	}{
		"list":     {http.MethodGet, "/api/v1/tags", 200, list, []string{"page", "name", "locale"}, []string{"name", "page", "page_size", "after", "locale", "If-None-Match"}},
		"get":      {http.MethodGet, "/api/v1/tags/{id}", 200, nil, []string{"id"}, []string{"id", "locale", "If-None-Match"}},
		"create":   {http.MethodPost, "/api/v1/tags", 201, nil, nil, []string{"Idempotency-Key", "locale"}},
		"other":    {http.MethodPost, "/auth", 200, nil, nil, []string{"locale"}},
		"update":   {http.MethodPut, "/api/v1/tags/{id}", 200, nil, []string{"id", "If-Match"}, []string{"id", "locale", "If-Match"}},
		"change":   {http.MethodPatch, "/api/v1/tags/{id}", 200, nil, nil, []string{"locale", "If-Match"}},
		"delete":   {http.MethodDelete, "/api/v1/tags/{id}", 200, nil, nil, []string{"locale", "If-Match"}},
		"internal": {http.MethodGet, "/internal/v1/tag-changes", 200, nil, []string{"after"}, []string{"after"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := operation{test.path, test.method, openapi3.NewOperation()}
			answer := openapi3.NewResponse().WithJSONSchemaRef(test.schema)
			o.AddResponse(test.status, answer)
			for _, own := range test.own {
				o.AddParameter(&openapi3.Parameter{Name: own, In: place(own)})
			}
			addParameters(o)
			var got []string
			for _, parameter := range o.Parameters {
				got = append(got, parameter.Value.Name)
				require.Equal(t, place(parameter.Value.Name), parameter.Value.In)
			}
			require.Equal(t, test.want, got)
		})
	}
}

func place(name string) string {
	switch name {
	case "locale", "Idempotency-Key", "If-Match", "If-None-Match":
		return openapi3.ParameterInHeader
	}
	return openapi3.ParameterInQuery
}
