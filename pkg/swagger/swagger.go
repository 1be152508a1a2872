// Package swagger serves a service's API description and the Swagger UI page
// that shows it. All assets are embedded: the page asks no other host.
package swagger

import (
	"embed"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/swaggest/swgui/v5/static"
	"github.com/vearutop/statigz"
)

//go:embed index.html page.js
var page embed.FS

// contentSecurityPolicy admits what Swagger UI needs: its own files, the API
// beside it, inline styles and data images.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; " +
	"img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"

// Register serves the page at /swagger/NAME/ and the OpenAPI 3 description at
// /swagger/NAME/openapi.json. The service's name is in the path so that one
// front door shows the pages of several services.
func Register(routes gin.IRoutes, name string, openAPI []byte) {
	base := "/swagger/" + name
	routes.GET(base, func(c *gin.Context) {
		c.Redirect(http.StatusMovedPermanently, base+"/")
	})
	routes.GET(base+"/openapi.json", func(c *gin.Context) {
		c.Data(http.StatusOK, "application/json; charset=utf-8", openAPI)
	})
	own, ui := http.FileServerFS(page), statigz.FileServer(static.FS)
	for _, file := range []string{"", "page.js"} { // "" is index.html
		serve(routes, base, file, own)
	}
	for _, file := range []string{"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"} {
		serve(routes, base, file, ui)
	}
}

func serve(routes gin.IRoutes, base, file string, files http.Handler) {
	handler := http.StripPrefix(base, files)
	routes.GET(base+"/"+file, func(c *gin.Context) {
		c.Header("Content-Security-Policy", contentSecurityPolicy)
		c.Header("Cache-Control", "no-cache")
		handler.ServeHTTP(c.Writer, c.Request)
	})
}
