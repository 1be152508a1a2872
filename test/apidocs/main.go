// Command apidocs writes the services' API descriptions from the annotations
// of their handlers: docs/openapi.json in each service. `make docs` runs it.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/swaggo/swag"

	"github.com/achilles-blog/achilles/pkg/batch"
	"github.com/achilles-blog/achilles/test/services"
)

func main() {
	root := ".."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	if err := writeAll(root); err != nil {
		fmt.Fprintln(os.Stderr, "apidocs:", err)
		os.Exit(1)
	}
}

func writeAll(root string) error {
	all, err := services.Read(root)
	if err != nil {
		return err
	}
	for _, s := range all {
		if err := write(root, s); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	return nil
}

func write(root string, s services.Service) error {
	service := filepath.Join(root, "services", s.Name)
	var folders []string
	for _, name := range s.APIPackages() {
		folders = append(folders, filepath.Join(service, "internal", name))
	}
	if s.Issuer {
		folders = append(folders, filepath.Join(root, "pkg/issuer/api"))
	}
	description, err := describe(folders)
	if err != nil {
		return err
	}
	// Indented, so that a change can be read.
	text, err := json.MarshalIndent(description, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(service, "docs", "openapi.json"), append(text, '\n'), 0o600)
}

// describe reads the annotations in the folders, the first of which has routes.go with those of the
// service. swag knows them as Swagger 2; describe returns them as OpenAPI 3.
func describe(folders []string) (*openapi3.T, error) {
	parser := swag.New(
		swag.SetDebugger(log.New(io.Discard, "", 0)),
		swag.ParseUsingGoList(true),
		swag.SetParseDependency(1), // the types of pkg
		swag.SetStrict(true),
	)
	if err := parser.ParseAPIMultiSearchDir(folders, "routes.go", 5); err != nil {
		return nil, err
	}
	text, err := json.Marshal(parser.GetSwagger())
	if err != nil {
		return nil, err
	}
	var two openapi2.T
	if err := json.Unmarshal(short(text), &two); err != nil {
		return nil, err
	}
	three, err := openapi2conv.ToV3(&two)
	if err != nil {
		return nil, err
	}
	if err := refine(three); err != nil {
		return nil, err
	}
	return three, three.Validate(openapi3.NewLoader().Context)
}

var packageNames = regexp.MustCompile(`(#/definitions/|")(responses|[a-z0-9]*api)\.([A-Za-z0-9]+)(-([a-z0-9]*api|responses)_([A-Za-z0-9]+))?"`)

// short drops Go's package names from the names of the schemas:
// responses.Envelope-api_Tag becomes TagEnvelope. What is of another resource than the
// first gets its name: voteapi.CreateRequest becomes VoteCreateRequest.
func short(text []byte) []byte {
	return packageNames.ReplaceAllFunc(text, func(found []byte) []byte {
		parts := packageNames.FindSubmatch(found)
		name := string(parts[1])
		if len(parts[6]) > 0 {
			name += schemaName(string(parts[5]), string(parts[6]))
		}
		return []byte(name + schemaName(string(parts[2]), string(parts[3])) + `"`)
	})
}

// schemaName returns the name of the schema of a type.
func schemaName(pkg, name string) string {
	resource, isAPI := strings.CutSuffix(pkg, "api")
	if !isAPI || resource == "" || strings.Contains(strings.ToLower(name), resource) {
		return name
	}
	return strings.ToUpper(resource[:1]) + resource[1:] + name
}

// refine adds what annotations cannot express.
func refine(description *openapi3.T) error {
	// Relative to /swagger/NAME/openapi.json, so that it holds behind a path prefix.
	description.Servers = openapi3.Servers{{URL: "../.."}}
	for name, scheme := range description.Components.SecuritySchemes {
		description.Components.SecuritySchemes[name] = bearer(scheme.Value.Description)
	}
	for name, schema := range description.Components.Schemas {
		addFormats(schema.Value)
		if strings.HasSuffix(name, "Request") {
			completeBatch(schema.Value)
			schema.Value.Example = example(description.Components.Schemas, schema.Value)
		} else {
			completeAnswer(name, schema.Value)
		}
	}
	if err := addCommon(description); err != nil {
		return err
	}
	withoutObjects(description)
	return nil
}

// withoutObjects removes arrays of objects from the bodies that are forms, which can't
// express them.
func withoutObjects(description *openapi3.T) {
	for _, item := range description.Paths.Map() {
		for _, o := range item.Operations() {
			if o.RequestBody == nil || o.RequestBody.Value.Content.Get(formType) == nil {
				continue
			}
			media := o.RequestBody.Value.Content.Get(formType)
			form := *description.Components.Schemas[path.Base(media.Schema.Ref)].Value
			form.Properties = maps.Clone(form.Properties)
			maps.DeleteFunc(form.Properties, func(_ string, property *openapi3.SchemaRef) bool {
				return property.Value.Items != nil && property.Value.Items.Value.Type.Is("object")
			})
			if len(form.Properties) < len(description.Components.Schemas[path.Base(media.Schema.Ref)].Value.Properties) {
				name := path.Base(media.Schema.Ref) + "Form"
				description.Components.Schemas[name] = &openapi3.SchemaRef{Value: &form}
				media.Schema = &openapi3.SchemaRef{Ref: "#/components/schemas/" + name, Value: &form}
			}
		}
	}
}

const formType = "application/x-www-form-urlencoded"

// bearer returns a bearer scheme, which Swagger 2 does not have.
func bearer(about string) *openapi3.SecuritySchemeRef {
	scheme := openapi3.NewSecurityScheme().WithType("http").WithScheme("bearer").WithDescription(about)
	return &openapi3.SecuritySchemeRef{Value: scheme}
}

// addFormats adds the formats of times and integers, so that generated clients use
// types that fit.
func addFormats(schema *openapi3.Schema) {
	for name, property := range schema.Properties {
		switch {
		case property.Ref != "":
		case strings.HasSuffix(name, "_at"):
			property.Value.Format = "date-time"
		case property.Value.Type.Is("integer") && property.Value.Enum == nil:
			property.Value.Format = "int64"
		}
	}
}

// completeBatch adds the bounds of the objects of a batch.
func completeBatch(request *openapi3.Schema) {
	for _, property := range request.Properties {
		if items := property.Value.Items; items != nil && items.Ref != "" {
			property.Value.WithMinItems(1).WithMaxItems(batch.MaxItems)
		}
	}
}

// example returns a request that works on an empty system: it has only the fields
// with an example, because Swagger UI would make up ids for the others.
func example(schemas openapi3.Schemas, request *openapi3.Schema) map[string]any {
	fields := map[string]any{}
	for name, property := range request.Properties {
		items := property.Value.Items
		switch {
		case items != nil && items.Ref != "":
			fields[name] = []any{example(schemas, schemas[path.Base(items.Ref)].Value)}
		case property.Value.Example != nil:
			fields[name] = property.Value.Example
		}
	}
	return fields
}

// optional are the fields that an answer may lack, by schema; batchResult for all of that
// ending, as TagBatchResult.
var optional = map[string][]string{
	"Article":   {"content", "content_omitted"}, // in lists only, where content was asked for
	"Change":    {"article"},
	"File":      {"width", "height"}, // of images
	batchResult: {"details", "errors", "replayed", "data"},
	"Pager":     {"page", "next"},
	"Problem":   {"next"},
}

const batchResult = "BatchResult"

// completeAnswer marks all fields of an answer as required, so that tests notice an
// answer that lacks one.
func completeAnswer(schema string, answer *openapi3.Schema) {
	if strings.HasSuffix(schema, batchResult) {
		schema = batchResult
	}
	for name := range answer.Properties {
		if !slices.Contains(optional[schema], name) {
			answer.Required = append(answer.Required, name)
		}
	}
	slices.Sort(answer.Required)
}
