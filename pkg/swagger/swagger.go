// Package swagger serves an API description and a Swagger UI page for it. All assets
// are embedded; the page uses no other host.
package swagger

import (
	"cmp"
	"embed"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"
	"github.com/swaggest/swgui/v5/static"
	"github.com/vearutop/statigz"
)

//go:embed index.html page.js
var page embed.FS

// contentSecurityPolicy allows what Swagger UI needs: its own files, the API on the
// same host, inline styles and data images.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; " +
	"img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"

// Description is an API description on a page.
type Description struct {
	Name string `json:"name"`
	// URL is the URL of the description, relative to the page.
	URL string `json:"url"`
}

// Register serves the page at /swagger/NAME/ and the OpenAPI 3 description at
// /swagger/NAME/openapi.json. The path contains the name of the service, so that a
// gateway can serve the pages of several services. /swagger redirects to the page.
func Register(routes gin.IRoutes, name string, openAPI []byte) {
	base := "/swagger/" + name
	for _, path := range []string{"/swagger", "/swagger/", base} {
		routes.GET(path, func(c *gin.Context) { c.Redirect(http.StatusMovedPermanently, base+"/") })
	}
	routes.GET(base+"/openapi.json", func(c *gin.Context) {
		c.Data(http.StatusOK, "application/json; charset=utf-8", openAPI)
	})
	handler := gin.WrapH(Page(base, Description{Name: name, URL: "openapi.json"}))
	for _, file := range slices.Concat(ownFiles(), uiFiles(), []string{"descriptions.json"}) {
		routes.GET(base+"/"+file, handler)
	}
}

// Page returns the handler of a page at base/ that shows one of the descriptions, at
// first the first one. It redirects base to base/ and answers 404 for other paths.
func Page(base string, descriptions ...Description) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+base, http.RedirectHandler(base+"/", http.StatusMovedPermanently))
	own, ui := http.FileServerFS(page), statigz.FileServer(static.FS)
	for _, file := range ownFiles() {
		mux.Handle("GET "+base+"/"+cmp.Or(file, "{$}"), guard(http.StripPrefix(base, own)))
	}
	for _, file := range uiFiles() {
		mux.Handle("GET "+base+"/"+file, guard(http.StripPrefix(base, ui)))
	}
	mux.Handle("GET "+base+"/descriptions.json", guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_ = json.NewEncoder(w).Encode(descriptions)
	})))
	return mux
}

// ownFiles are the files of this package; "" is index.html.
func ownFiles() []string { return []string{"", "page.js"} }

// uiFiles are the files of Swagger UI that the page needs.
func uiFiles() []string {
	return []string{"swagger-ui.css", "swagger-ui-bundle.js", "swagger-ui-standalone-preset.js", "favicon-32x32.png"}
}

func guard(files http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", contentSecurityPolicy)
		w.Header().Set("Cache-Control", "no-cache")
		files.ServeHTTP(w, r)
	})
}
