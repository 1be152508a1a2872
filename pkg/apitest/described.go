package apitest

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

const (
	formType = "application/x-www-form-urlencoded"
	feedType = "application/feed+json"
)

// isOpaque reports whether a body is a feed for feed readers or a file, whose content the
// description leaves to their specifications.
func isOpaque(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && (kind == feedType || kind != "application/json" && !strings.HasSuffix(kind, "+json"))
}

// onlyDescribed returns an error for fields that are not in the schema. OpenAPI itself
// allows them by default.
func onlyDescribed(content openapi3.Content, contentType string, body []byte) error {
	media := content.Get(contentType)
	if media == nil || media.Schema == nil {
		return nil
	}
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return err
	}
	var value any
	switch {
	case kind == formType:
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return err
		}
		fields := map[string]any{}
		for name := range form {
			fields[name] = nil
		}
		value = fields
	case kind == feedType:
		return nil
	case kind == "application/json" || strings.HasSuffix(kind, "+json"):
		if err := json.Unmarshal(body, &value); err != nil {
			return err
		}
	default:
		return nil
	}
	return walk("", value, []*openapi3.SchemaRef{media.Schema})
}

// onlyDescribedHeaders returns an error for response headers that are not described,
// except standard headers of HTTP and security headers.
func onlyDescribedHeaders(described openapi3.Headers, header http.Header) error {
	names := make(map[string]bool, len(described))
	for name := range described {
		names[http.CanonicalHeaderKey(name)] = true
	}
	for name := range header {
		switch name {
		case "Connection", "Content-Length", "Content-Type", "Date":
		case "Content-Security-Policy", "Referrer-Policy", "X-Content-Type-Options", "X-Frame-Options":
		default:
			if !names[name] {
				return fmt.Errorf("the header %s is not described", name)
			}
		}
	}
	return nil
}

// walk checks a value against schemas that apply to it together.
func walk(path string, value any, schemas []*openapi3.SchemaRef) error {
	parts := flatten(schemas)
	switch value := value.(type) {
	case map[string]any:
		for name, field := range value {
			at := path + "/" + name
			properties := propertiesOf(parts, name)
			if len(properties) == 0 && !open(parts) {
				return fmt.Errorf("the field %s is not described", at)
			}
			if err := walk(at, field, properties); err != nil {
				return err
			}
		}
	case []any:
		var items []*openapi3.SchemaRef
		for _, s := range parts {
			items = append(items, s.Items)
		}
		for i, item := range value {
			if err := walk(fmt.Sprintf("%s/%d", path, i), item, items); err != nil {
				return err
			}
		}
	}
	return nil
}

// flatten returns the schemas and those they are composed of.
func flatten(schemas []*openapi3.SchemaRef) (parts []*openapi3.Schema) {
	for _, ref := range schemas {
		if ref == nil || ref.Value == nil {
			continue
		}
		parts = append(parts, ref.Value)
		for _, group := range []openapi3.SchemaRefs{ref.Value.AllOf, ref.Value.AnyOf, ref.Value.OneOf} {
			parts = append(parts, flatten(group)...)
		}
	}
	return parts
}

// open reports whether additional fields are allowed: explicitly, or because no schema
// has properties.
func open(parts []*openapi3.Schema) bool {
	named := false
	for _, s := range parts {
		if s.AdditionalProperties.Has != nil && *s.AdditionalProperties.Has {
			return true
		}
		named = named || len(s.Properties) > 0
	}
	return !named
}

func propertiesOf(parts []*openapi3.Schema, name string) (properties []*openapi3.SchemaRef) {
	for _, s := range parts {
		if p := s.Properties[name]; p != nil {
			properties = append(properties, p)
		} else if s.AdditionalProperties.Schema != nil {
			properties = append(properties, s.AdditionalProperties.Schema)
		}
	}
	return properties
}
