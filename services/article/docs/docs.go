// Package docs holds the generated API description of the article service.
package docs

import _ "embed"

// OpenAPI is the description as OpenAPI 3 JSON; `make docs` writes it from the
// annotations of the handlers.
//
//go:embed openapi.json
var OpenAPI []byte
