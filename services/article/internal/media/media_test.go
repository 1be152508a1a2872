package media_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/services/article/internal/file"
	"github.com/achilles-blog/achilles/services/article/internal/media"
)

// content is a file in memory.
type content struct{ data []byte }

func (c content) ReadAt(to []byte, at int64) (int, error) {
	return bytes.NewReader(c.data).ReadAt(to, at)
}

func (c content) WriteAt(from []byte, at int64) (int, error) { return copy(c.data[at:], from), nil }

// tiff returns EXIF with an orientation and a position.
func tiff(order binary.AppendByteOrder, mark string) []byte {
	data := []byte(mark)
	data = order.AppendUint16(data, 42)
	data = order.AppendUint32(data, 8)
	data = order.AppendUint16(data, 2)
	entry := func(tag, kind uint16, count, value uint32) {
		data = order.AppendUint16(data, tag)
		data = order.AppendUint16(data, kind)
		data = order.AppendUint32(data, count)
		data = order.AppendUint32(data, value)
	}
	entry(0x0112, 4, 1, 6) // the orientation
	entry(0x8825, 4, 1, 38)
	data = order.AppendUint32(data, 0)
	data = order.AppendUint16(data, 1) // at 38
	entry(2, 5, 3, 56)                 // the latitude
	data = order.AppendUint32(data, 0)
	return append(data, "SECRET LATITUDE OF 24 B."...)
}

func withJPEG(t *testing.T, segments ...[]byte) []byte {
	t.Helper()
	var plain bytes.Buffer
	img := image.NewGray(image.Rect(0, 0, 8, 8))
	img.Set(1, 1, color.White)
	require.NoError(t, jpeg.Encode(&plain, img, nil))
	data := append([]byte{}, plain.Bytes()[:2]...)
	for _, s := range segments {
		data = append(data, 0xFF, 0xE1)
		data = binary.BigEndian.AppendUint16(data, uint16(len(s)+2))
		data = append(data, s...)
	}
	return append(data, plain.Bytes()[2:]...)
}

func withPNG(t *testing.T, kind string, chunk []byte) []byte {
	t.Helper()
	var plain bytes.Buffer
	require.NoError(t, png.Encode(&plain, image.NewGray(image.Rect(0, 0, 8, 8))))
	const header = 8 + 25
	data := append([]byte{}, plain.Bytes()[:header]...)
	data = binary.BigEndian.AppendUint32(data, uint32(len(chunk)))
	data = append(append(data, kind...), chunk...)
	data = binary.BigEndian.AppendUint32(data, crc32.ChecksumIEEE(data[len(data)-len(chunk)-4:]))
	return append(data, plain.Bytes()[header:]...)
}

func webp(kind string, chunk []byte) []byte {
	data := append([]byte("RIFF\x00\x00\x00\x00WEBP"+kind), binary.LittleEndian.AppendUint32(nil, uint32(len(chunk)))...)
	return append(data, chunk...)
}

// The position goes; pixels, size and orientation stay.
func TestRemovePosition(t *testing.T) {
	exif := func(tiff []byte) []byte { return append([]byte("Exif\x00\x00"), tiff...) }
	xmp := []byte("<exif:GPSLatitude>SECRET</exif:GPSLatitude>")
	jpegXMP := append([]byte("http://ns.adobe.com/xap/1.0/\x00"), xmp...)
	big, little := tiff(binary.BigEndian, "MM"), tiff(binary.LittleEndian, "II")
	for name, c := range map[string]struct {
		kind string
		data []byte
	}{
		"JPEG":           {"image/jpeg", withJPEG(t, exif(big), jpegXMP)},
		"JPEG, II":       {"image/jpeg", withJPEG(t, exif(little))},
		"PNG":            {"image/png", withPNG(t, "eXIf", big)},
		"PNG, XMP":       {"image/png", withPNG(t, "iTXt", append([]byte("XML:com.adobe.xmp\x00\x00\x00\x00\x00"), xmp...))},
		"PNG, large XMP": {"image/png", withPNG(t, "eXIf", append(bytes.Clone(big), make([]byte, 2<<20)...))},
		"JPEG, more XMP": {"image/jpeg", withJPEG(t, append([]byte("http://ns.adobe.com/xmp/extension/\x00"), "SECRET"...))},
		"JPEG, 2 images": {"image/jpeg", append(withJPEG(t), withJPEG(t, exif(big))...)},
		"PNG, tEXt":      {"image/png", withPNG(t, "tEXt", []byte("Raw profile type exif\x00SECRET"))},
		"PNG, zTXt":      {"image/png", withPNG(t, "zTXt", []byte("Raw profile type APP1\x00\x00SECRET"))},
		"PNG, iTXt":      {"image/png", withPNG(t, "iTXt", []byte("Raw profile type xmp\x00\x00\x00\x00\x00SECRET"))},
		"PNG, 2 images":  {"image/png", append(withPNG(t, "eXIf", nil), withPNG(t, "eXIf", big)...)},
		"WebP":           {"image/webp", webp("EXIF", little)},
		"WebP, XMP":      {"image/webp", webp("XMP ", xmp)},
	} {
		t.Run(name, func(t *testing.T) {
			before := bytes.Clone(c.data)
			require.True(t, bytes.Contains(before, []byte("SECRET")))
			require.NoError(t, media.Inspector{}.RemovePosition(content{c.data}, int64(len(c.data)), c.kind))
			require.False(t, bytes.Contains(c.data, []byte("SECRET")))
			require.Len(t, c.data, len(before))
			switch c.kind {
			case "image/jpeg":
				requireSame(t, before, c.data, jpeg.Decode)
			case "image/png":
				requireSame(t, before, c.data, png.Decode) // it checks the checksums
			}
			again := bytes.Clone(c.data)
			require.NoError(t, media.Inspector{}.RemovePosition(content{again}, int64(len(again)), c.kind))
			require.Equal(t, c.data, again)
		})
	}
	many := withJPEG(t, make([][]byte, 10_001)...)
	require.ErrorIs(t, media.Inspector{}.RemovePosition(content{many}, int64(len(many)), "image/jpeg"), file.ErrMalformed)
	rest := withJPEG(t, exif(big))
	require.NoError(t, media.Inspector{}.RemovePosition(content{rest}, int64(len(rest)), "image/jpeg"))
	require.Contains(t, string(rest), string(big[:22]), "the orientation stays")
}

func requireSame(t *testing.T, a, b []byte, decode func(io.Reader) (image.Image, error)) {
	t.Helper()
	first, err := decode(bytes.NewReader(a))
	require.NoError(t, err)
	second, err := decode(bytes.NewReader(b))
	require.NoError(t, err)
	require.Equal(t, first, second)
}

// Files that lie about themselves neither crash it nor keep it busy.
func FuzzInspector(f *testing.F) {
	big := tiff(binary.BigEndian, "MM")
	f.Add(append([]byte("\xff\xd8\xff\xe1\x00\x60Exif\x00\x00"), big...))
	f.Add([]byte("\x89PNG\r\n\x1a\n\xff\xff\xff\xffeXIf"))
	f.Add([]byte("RIFF\x00\x00\x00\x00WEBPEXIF\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 {
			return
		}
		_, _ = media.Inspector{}.Inspect(bytes.NewReader(data), int64(len(data)))
		for _, kind := range []string{"image/jpeg", "image/png", "image/webp"} {
			own := bytes.Clone(data)
			if err := (media.Inspector{}).RemovePosition(content{own}, int64(len(own)), kind); err != nil {
				require.ErrorIs(t, err, file.ErrMalformed)
			}
			require.Len(t, own, len(data))
		}
	})
}
