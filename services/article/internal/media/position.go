package media

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"strings"

	"github.com/achilles-blog/achilles/services/article/internal/file"
)

const (
	// maxMetadata is the maximum size in bytes of metadata that is edited. Metadata that is
	// larger is overwritten as a whole.
	maxMetadata = 1 << 20
	// maxParts is the number of parts of a file that are looked at.
	maxParts = 10_000

	tagGPS    = 0x8825
	entrySize = 12
)

// The beginnings of metadata in a JPEG and a PNG.
const (
	jpegEXIF = "Exif\x00\x00"
	jpegXMP  = "http://ns.adobe.com/xap/1.0/\x00"
	jpegMore = "http://ns.adobe.com/xmp/extension/\x00"
	pngXMP   = "XML:com.adobe.xmp\x00"
	pngRaw   = "raw profile type"
	pngEmpty = "Comment\x00"
)

// RemovePosition implements file.Inspector for JPEG, PNG and WebP. It overwrites the position
// in EXIF, and XMP that has one, in place: pixels, size and orientation stay as they are. It
// overwrites extended XMP, raw profiles in the texts of a PNG, and what follows the image of
// a JPEG or PNG, such as a second image, whether they have a position or not. The error of a file of too many parts is
// file.ErrMalformed.
func (Inspector) RemovePosition(content file.Content, size int64, mediaType string) error {
	switch mediaType {
	case "image/jpeg":
		return editJPEG(content, size)
	case "image/png":
		return editPNG(content, size)
	case "image/webp":
		return editWebP(content, size)
	default:
		return nil
	}
}

// edit lets change modify a part of the content, at most maxMetadata of it; what is larger
// gets zero. It reports whether the part has changed, and returns it.
func edit(content file.Content, at, length int64, change func([]byte) bool) (part []byte, changed bool, err error) {
	if length > maxMetadata {
		change = func(part []byte) bool { clear(part); return true }
	}
	for done := int64(0); done < length; done += maxMetadata {
		part = make([]byte, min(maxMetadata, length-done))
		if _, err := content.ReadAt(part, at+done); err != nil {
			return nil, false, err
		}
		if !change(part) {
			continue
		}
		changed = true
		if _, err := content.WriteAt(part, at+done); err != nil {
			return nil, false, err
		}
	}
	return part, changed, nil
}

// editJPEG edits the segments, and what follows the image.
func editJPEG(content file.Content, size int64) error {
	var head [4]byte
	at := int64(2)
	for range maxParts {
		if at+int64(len(head)) > size {
			return nil
		}
		if _, err := content.ReadAt(head[:], at); err != nil {
			return err
		}
		marker, length := head[1], int64(binary.BigEndian.Uint16(head[2:]))
		switch {
		case head[0] != 0xFF:
			return nil
		case marker == 0xD9:
			return overwrite(content, at+2, size)
		case marker == 0xFF: // a fill byte
			at++
			continue
		case marker >= 0xD0 && marker <= 0xD8 || marker == 0x01: // without a length
			at += 2
			continue
		case length < 2 || at+2+length > size:
			return nil
		}
		if marker == 0xE1 {
			if _, _, err := edit(content, at+4, length-2, removeFromSegment); err != nil {
				return err
			}
		}
		at += 2 + length
		if marker == 0xDA {
			var err error
			if at, err = skipPixels(content, at, size); err != nil {
				return err
			}
		}
	}
	return file.ErrMalformed
}

// skipPixels returns where the first marker behind the pixels of a JPEG is, or its size.
func skipPixels(content io.ReaderAt, at, size int64) (int64, error) {
	pixels := bufio.NewReader(io.NewSectionReader(content, at, size-at))
	for previous := byte(0); ; at++ {
		b, err := pixels.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			return size, nil
		case err != nil:
			return 0, err
		case previous == 0xFF && b != 0 && b != 0xFF && (b < 0xD0 || b > 0xD7):
			return at - 1, nil
		}
		previous = b
	}
}

// overwrite overwrites the rest of a content with zeros.
func overwrite(content file.Content, at, size int64) error {
	zeros := make([]byte, 32<<10)
	for ; at < size; at += int64(len(zeros)) {
		if _, err := content.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			return err
		}
	}
	return nil
}

func removeFromSegment(segment []byte) bool {
	if tiff, ok := bytes.CutPrefix(segment, []byte(jpegEXIF)); ok {
		return removeFromTIFF(tiff)
	}
	if xmp, ok := bytes.CutPrefix(segment, []byte(jpegXMP)); ok {
		return removeFromXMP(xmp)
	}
	if more, ok := bytes.CutPrefix(segment, []byte(jpegMore)); ok {
		fill(more) // a part of XMP
		return true
	}
	return false
}

// editPNG edits the chunks of metadata, and corrects their checksums.
func editPNG(content file.Content, size int64) error {
	var head [8]byte
	at := int64(8)
	for range maxParts {
		if at+int64(len(head)) > size {
			return nil
		}
		if _, err := content.ReadAt(head[:], at); err != nil {
			return err
		}
		kind, length := string(head[4:]), int64(binary.BigEndian.Uint32(head[:]))
		if at+12+length > size {
			return nil
		}
		if err := editChunk(content, kind, at+8, length); err != nil {
			return err
		}
		at += 12 + length
		if kind == "IEND" {
			return overwrite(content, at, size)
		}
	}
	return file.ErrMalformed
}

func editChunk(content file.Content, kind string, at, length int64) error {
	switch raw, err := isRawProfile(content, kind, at, length); {
	case err != nil:
		return err
	case raw:
		return emptyText(content, at, length)
	}
	change := removeFromTIFF
	switch kind {
	case "eXIf":
	case "iTXt":
		change = removeFromText
	default:
		return nil
	}
	_, changed, err := edit(content, at, length, change)
	if err != nil || !changed {
		return err
	}
	return correctSum(content, at, length)
}

// isRawProfile reports whether a chunk is a text with EXIF or XMP, as ImageMagick writes them.
func isRawProfile(content io.ReaderAt, kind string, at, length int64) (bool, error) {
	if length < int64(len(pngRaw)) || kind != "tEXt" && kind != "zTXt" && kind != "iTXt" {
		return false, nil
	}
	keyword := make([]byte, len(pngRaw))
	_, err := content.ReadAt(keyword, at)
	return strings.EqualFold(string(keyword), pngRaw), err
}

// emptyText makes a chunk a comment that is empty.
func emptyText(content file.Content, at, length int64) error {
	if _, err := content.WriteAt([]byte("tEXt"), at-4); err != nil {
		return err
	}
	for done := int64(0); done < length; done += maxMetadata {
		text := make([]byte, min(maxMetadata, length-done))
		fill(text)
		if done == 0 {
			copy(text, pngEmpty)
		}
		if _, err := content.WriteAt(text, at+done); err != nil {
			return err
		}
	}
	return correctSum(content, at, length)
}

// correctSum corrects the checksum of a chunk.
func correctSum(content file.Content, at, length int64) error {
	sum := crc32.NewIEEE()
	if _, err := io.Copy(sum, io.NewSectionReader(content, at-4, length+4)); err != nil {
		return err
	}
	_, err := content.WriteAt(sum.Sum(nil), at+length)
	return err
}

// removeFromText empties a text of a PNG that is XMP with a position, or may be: if it is
// compressed.
func removeFromText(text []byte) bool {
	xmp, ok := bytes.CutPrefix(text, []byte(pngXMP))
	if !ok || len(xmp) < 4 {
		return false
	}
	if compressed := xmp[0] != 0; !compressed {
		return removeFromXMP(xmp[4:])
	}
	xmp[0] = 0
	fill(xmp[4:])
	return true
}

// editWebP edits the chunks of metadata.
func editWebP(content file.Content, size int64) error {
	var head [8]byte
	at := int64(12)
	for range maxParts {
		if at+int64(len(head)) > size {
			return nil
		}
		if _, err := content.ReadAt(head[:], at); err != nil {
			return err
		}
		length := int64(binary.LittleEndian.Uint32(head[4:]))
		if at+8+length > size {
			return nil
		}
		change := func([]byte) bool { return false }
		switch string(head[:4]) {
		case "EXIF":
			change = func(exif []byte) bool { return removeFromTIFF(bytes.TrimPrefix(exif, []byte(jpegEXIF))) }
		case "XMP ":
			change = removeFromXMP
		}
		if _, _, err := edit(content, at+8, length, change); err != nil {
			return err
		}
		at += 8 + length + length%2
	}
	return file.ErrMalformed
}

// removeFromXMP empties XMP that mentions a position.
func removeFromXMP(xmp []byte) bool {
	if !bytes.Contains(xmp, []byte("GPS")) {
		return false
	}
	fill(xmp)
	return true
}

func fill(text []byte) {
	for i := range text {
		text[i] = ' '
	}
}

// removeFromTIFF empties the directory of the position. It reports whether there was one.
func removeFromTIFF(tiff []byte) bool {
	t := directory{data: tiff, order: binary.LittleEndian}
	if len(tiff) < 8 {
		return false
	}
	if tiff[0] == 'M' {
		t.order = binary.BigEndian
	}
	found := false
	for entry := range t.entries(t.order.Uint32(tiff[4:])) {
		if t.order.Uint16(entry) == tagGPS {
			t.empty(t.order.Uint32(entry[8:]))
			found = true
		}
	}
	return found
}

// directory reads the directories of a TIFF.
type directory struct {
	data  []byte
	order binary.ByteOrder
}

// slice returns a part of the data, nil if it isn't there.
func (d directory) slice(at, length uint64) []byte {
	if at+length < at || at+length > uint64(len(d.data)) {
		return nil
	}
	return d.data[at : at+length]
}

// entries yields the entries of a directory.
func (d directory) entries(at uint32) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		count := d.slice(uint64(at), 2)
		if count == nil {
			return
		}
		for i := range uint64(d.order.Uint16(count)) {
			entry := d.slice(uint64(at)+2+i*entrySize, entrySize)
			if entry == nil || !yield(entry) {
				return
			}
		}
	}
}

// empty overwrites a directory with its values.
func (d directory) empty(at uint32) {
	sizes := []uint64{0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8}
	for entry := range d.entries(at) {
		if kind := int(d.order.Uint16(entry[2:])); kind < len(sizes) {
			length := sizes[kind] * uint64(d.order.Uint32(entry[4:]))
			if length > 4 {
				clear(d.slice(uint64(d.order.Uint32(entry[8:])), length))
			}
		}
		clear(entry)
	}
	clear(d.slice(uint64(at), 2))
}
