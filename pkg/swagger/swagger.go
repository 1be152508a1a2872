// Package swagger serves an API description and a Swagger UI page for it. All assets
// are embedded; the page uses no other host.
package swagger

import (
	"cmp"
	"embed"
	"encoding/json"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/swaggest/swgui/v5/static"

	"github.com/achilles-blog/achilles/pkg/responses"
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
// gateway can serve the pages of several services. /swagger redirects to the page. All
// URLs are relative, so a proxy may add a prefix to the paths.
func Register(routes gin.IRoutes, name string, openAPI []byte) {
	base := "/swagger/" + name
	reads := []string{http.MethodGet, http.MethodHead}
	for from, to := range map[string]string{"/swagger": "swagger/" + name + "/", "/swagger/": name + "/", base: name + "/"} {
		routes.Match(reads, from, gin.WrapH(redirect(to)))
	}
	routes.Match(reads, base+"/openapi.json", func(c *gin.Context) {
		c.Header("Content-Type", "application/json; charset=utf-8")
		_, _ = responses.Writer(c).Write(openAPI)
	})
	page := Page(base, Description{Name: name, URL: "openapi.json"})
	handler := func(c *gin.Context) { page.ServeHTTP(responses.Writer(c), c.Request) }
	for _, file := range slices.Concat(ownFiles(), uiFiles(), []string{"descriptions.json"}) {
		routes.Match(reads, base+"/"+file, handler)
	}
}

// Page returns the handler of a page at base/ that shows one of the descriptions, at
// first the first one. It redirects base to base/ and answers 404 for other paths.
func Page(base string, descriptions ...Description) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+base, redirect(path.Base(base)+"/"))
	for file, asset := range assets() {
		mux.Handle("GET "+base+"/"+cmp.Or(file, "{$}"), asset)
	}
	mux.Handle("GET "+base+"/descriptions.json", guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_ = json.NewEncoder(w).Encode(descriptions)
	})))
	return mux
}

// redirect redirects to a URL that is relative to that of the request, which
// http.Redirect would make absolute.
func redirect(to string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusMovedPermanently)
	})
}

// ownFiles are the files of this package; "" is index.html.
func ownFiles() []string { return []string{"", "page.js"} }

// uiFiles are the files of Swagger UI that the page needs.
func uiFiles() []string {
	return []string{"swagger-ui.css", "swagger-ui-bundle.js", "swagger-ui-standalone-preset.js", "favicon-32x32.png"}
}

// versionQuery begins the query of the URL of an asset with its version.
const versionQuery = "v="

// assets returns the files of the page by name. The page names the versions of the
// others, so that browsers keep them until they change.
func assets() map[string]asset {
	assets := map[string]asset{"page.js": newAsset("text/javascript; charset=utf-8", compress(read(page, "page.js")))}
	for _, file := range uiFiles() {
		switch path.Ext(file) {
		case ".png":
			assets[file] = newAsset("image/png", compress(read(static.FS, file)))
		case ".css":
			assets[file] = newAsset("text/css; charset=utf-8", read(static.FS, file+".gz"))
		default:
			assets[file] = newAsset("text/javascript; charset=utf-8", read(static.FS, file+".gz"))
		}
	}
	index := string(read(page, "index.html"))
	for file, asset := range assets {
		index = strings.ReplaceAll(index, `"`+file+`"`, `"`+file+`?`+versionQuery+asset.version+`"`)
	}
	assets[""] = newAsset("text/html; charset=utf-8", compress([]byte(index)))
	return assets
}

// read returns an embedded file, or nothing if there is none.
func read(files embed.FS, name string) []byte {
	content, _ := files.ReadFile(name)
	return content
}

func guard(files http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", contentSecurityPolicy)
		w.Header().Set("Cache-Control", "no-cache")
		files.ServeHTTP(w, r)
	})
}
