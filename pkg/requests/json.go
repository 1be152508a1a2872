package requests

import (
	"bytes"
	"encoding/json"
	"iter"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// Bounds of a body or a query. No client needs as much; decoding more would cost
// more memory than the bytes of the body.
const (
	// maxValues is the maximum number of values in an object or array, counting those
	// inside of it, and of the pairs in a form.
	maxValues = 1000
	// maxDepth is the maximum depth of objects and arrays in each other.
	maxDepth = 32
)

// checkJSON returns an error unless the body is one JSON object within the bounds, with at
// most so many values, in UTF-8. It reads the body without building anything of it.
func checkJSON(body []byte, most int) error {
	if !utf8.Valid(body) {
		return errcode.New(errcode.InvalidParams, notUTF8)
	}
	if !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		return errcode.New(errcode.InvalidParams, notAnObject)
	}
	if err := checkBounds(body, most); err != nil {
		return err
	}
	if !json.Valid(body) {
		return errcode.New(errcode.InvalidParams, malformedJSON)
	}
	if half := loneSurrogate(body); half != "" {
		return errcode.New(errcode.InvalidParams, halfSurrogate(half))
	}
	return nil
}

// checkBounds returns an error if the JSON, valid or not, exceeds the bounds.
func checkBounds(body []byte, most int) error {
	depth, values := 0, 0
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '"':
			i = endOfString(body, i)
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ',':
			values++
		}
		if values >= most {
			return errcode.New(errcode.InvalidParams, tooManyValues(most))
		}
		if depth > maxDepth {
			return errcode.New(errcode.InvalidParams, tooDeep)
		}
	}
	return nil
}

// endOfString returns the index of the quote that ends the string which begins at
// start, or the last index if none does.
func endOfString(body []byte, start int) int {
	for i := start + 1; i < len(body); i++ {
		switch body[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return len(body) - 1
}

// members yields the names and the values of an object, in valid JSON.
func members(object []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		reader := valueReader{object, 1}
		for reader.more() {
			name := unquote(reader.next())
			if !yield(name, reader.next()) {
				return
			}
		}
	}
}

// elements yields the elements of an array, in valid JSON.
func elements(array []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		reader := valueReader{array, 1}
		for i := 0; reader.more(); i++ {
			if !yield(i, reader.next()) {
				return
			}
		}
	}
}

// valueReader reads the values inside of an object or array, in valid JSON, as parts
// of data.
type valueReader struct {
	data []byte
	at   int
}

// more moves to the next value and reports whether there is one.
func (r *valueReader) more() bool {
	for bytes.IndexByte([]byte(" \t\r\n,:"), r.data[r.at]) >= 0 {
		r.at++
	}
	return r.data[r.at] != '}' && r.data[r.at] != ']'
}

// next returns the next value.
func (r *valueReader) next() []byte {
	r.more()
	start, depth := r.at, 0
	for ; ; r.at++ {
		switch r.data[r.at] {
		case '"':
			r.at = endOfString(r.data, r.at)
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		}
		if depth == 0 && r.ends() {
			r.at++
			return r.data[start:r.at]
		}
	}
}

// ends reports whether a value outside of any other ends here.
func (r *valueReader) ends() bool {
	return bytes.IndexByte([]byte(" \t\r\n,:}]"), r.data[r.at+1]) >= 0
}

// unquote returns the text of a string in valid JSON. Unlike json.Unmarshal, it makes
// one copy, not two.
func unquote(quoted []byte) string {
	var text strings.Builder
	text.Grow(len(quoted)) // at most as long
	for rest := quoted[1 : len(quoted)-1]; ; {
		plain, escape, found := bytes.Cut(rest, []byte(`\`))
		text.Write(plain)
		if !found {
			return text.String()
		}
		if escape[0] != 'u' {
			text.WriteByte(unescaped(escape[0]))
			rest = escape[1:]
			continue
		}
		letter := escaped(escape[1:])
		if rest = escape[5:]; utf16.IsSurrogate(letter) { // in a pair, see loneSurrogate
			letter = utf16.DecodeRune(letter, escaped(rest[2:]))
			rest = rest[6:]
		}
		text.WriteRune(letter)
	}
}

// unescaped returns what a letter behind a backslash stands for.
func unescaped(letter byte) byte {
	if at := strings.IndexByte("bfnrt", letter); at >= 0 {
		return "\b\f\n\r\t"[at]
	}
	return letter // a quote, a slash or a backslash
}

// loneSurrogate returns the first escape in valid JSON that is one half of a surrogate
// pair without the other, such as \ud800, or "". encoding/json would replace it.
func loneSurrogate(body []byte) string {
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		i++ // what is escaped
		if body[i] != 'u' {
			continue
		}
		first := escaped(body[i+1:])
		i += 4
		if !utf16.IsSurrogate(first) {
			continue
		}
		rest, paired := bytes.CutPrefix(body[i+1:], []byte(`\u`))
		if !paired || utf16.DecodeRune(first, escaped(rest)) == utf8.RuneError {
			return string(body[i-5 : i+1])
		}
		i += 6
	}
	return ""
}

// escaped returns the rune of the four hexadecimal digits at the front.
func escaped(digits []byte) rune {
	number, err := strconv.ParseUint(string(digits[:4]), 16, 16)
	if err != nil {
		return utf8.RuneError
	}
	return rune(number)
}
