// Package media knows the formats of files: what a content is, how large an image is, and
// where a photo has its position.
package media

import (
	"bufio"
	"errors"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"strings"

	"github.com/gabriel-vasile/mimetype"
	"golang.org/x/image/webp"

	"github.com/achilles-blog/achilles/services/article/internal/file"
)

// sniffed is the number of bytes of which a type is detected.
const sniffed = 3072

// Inspector implements file.Inspector.
type Inspector struct{}

var _ file.Inspector = Inspector{}

// Inspect implements file.Inspector.
func (Inspector) Inspect(content io.ReaderAt, size int64) (file.Media, error) {
	head := make([]byte, min(sniffed, size))
	if _, err := content.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return file.Media{}, err
	}
	mediaType := detect(head)
	found := file.Media{Type: mediaType}
	decode := decoder(mediaType)
	if decode == nil {
		return found, nil
	}
	config, err := decode(bufio.NewReader(io.NewSectionReader(content, 0, size)))
	if err != nil || config.Width <= 0 || config.Height <= 0 {
		return found, file.ErrMalformed
	}
	found.Width, found.Height = config.Width, config.Height
	return found, nil
}

// detect returns the media type of a content that begins with head. A text whose lines
// have the same number of commas or tabs is a plain text: a table can't be told from prose.
func detect(head []byte) string {
	found, _, _ := strings.Cut(mimetype.Detect(head).String(), ";")
	if found == "text/csv" || found == "text/tab-separated-values" {
		return "text/plain"
	}
	return found
}

// decoder returns the function that decodes the header of an image, nil for other types.
func decoder(mediaType string) func(io.Reader) (image.Config, error) {
	switch mediaType {
	case "image/jpeg":
		return jpeg.DecodeConfig
	case "image/png":
		return png.DecodeConfig
	case "image/gif":
		return gif.DecodeConfig
	case "image/webp":
		return webp.DecodeConfig
	default:
		return nil
	}
}
