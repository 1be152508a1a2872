package responses

import (
	"net/http"

	"github.com/gin-gonic/gin"
)

// Document answers 200 with a document of another media type than JSON, in UTF-8, with its
// language and entity tag; or without a body, as WithoutBody does. body returns the document;
// if it fails, Document answers with its error.
func Document(c *gin.Context, etag ETag, mediaType, language string, reserved *Reservation, body func() ([]byte, error)) {
	header, tag, contentType := c.Writer.Header(), etag.text(language), mediaType+"; charset=utf-8"
	ofMessages := header["Content-Language"]
	c.Header("Content-Language", language)
	if withoutBodyAs(c, tag, contentType) {
		return
	}
	text, err := body()
	if err != nil {
		header["Content-Language"] = ofMessages
		Error(c, err)
		return
	}
	setTag(c, tag)
	writeAs(c, http.StatusOK, contentType, reserved, inParts(c, text))
}
