package search

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/transform"
	"golang.org/x/text/unicode/norm"
)

const (
	// MaxWord is the maximum length of a word in bytes, that of its column. Of a longer
	// one, the beginning and a hash are kept.
	MaxWord = 32
	// MaxWords is the maximum number of different words of an article. Words that follow
	// are not found.
	MaxWords = 10_000
	// MaxQueryWords is the maximum number of different words of a query.
	MaxQueryWords = 32
)

// Weights of a word in the parts of an article. The weight of a word is the sum of those of
// the parts that have it.
const (
	InContent uint8 = 1
	InDesc    uint8 = 2
	InTitle   uint8 = 4
)

// Word is a word of an article.
type Word struct {
	Text   string
	Weight uint8
}

// Words returns the words of an article in ascending order, each once, up to MaxWords in
// the order in which they occur in title, desc and content.
//
// The text is folded first: width and other forms of letters by Unicode's normalization
// form KC, case by Unicode's case folding. A word is a run of letters, digits and marks. C++
// and C# have the words c++ and c# beside c. An emoji is a word. In scripts without
// spaces between words (Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese), each letter
// and each pair of letters that follow each other is a word.
func Words(title, desc, content string) []Word {
	weights := make(map[string]uint8, min(MaxWords, 16+len(content)/8))
	for _, part := range []struct {
		text   string
		weight uint8
	}{{title, InTitle}, {desc, InDesc}, {content, InContent}} {
		s := newSplitter(false, func(word []byte) bool {
			if weight, ok := weights[string(word)]; ok {
				if weight&part.weight == 0 {
					weights[string(word)] = weight | part.weight
				}
				return true
			}
			if len(weights) == MaxWords {
				return false
			}
			weights[string(word)] = part.weight
			return true
		})
		s.split(part.text)
	}
	words := make([]Word, 0, len(weights))
	for text, weight := range weights {
		words = append(words, Word{text, weight})
	}
	slices.SortFunc(words, func(a, b Word) int { return strings.Compare(a.Text, b.Text) })
	return words
}

// QueryWords returns the words that an article must have to be found by a text, in ascending
// order. If there are more than MaxQueryWords, it returns one more than these.
func QueryWords(text string) []string {
	var words []string
	s := newSplitter(true, func(word []byte) bool {
		if at, found := slices.BinarySearch(words, string(word)); !found {
			words = slices.Insert(words, at, string(word))
		}
		return len(words) <= MaxQueryWords
	})
	s.split(text)
	return words
}

// blockSize is about the number of bytes that are folded at a time.
const blockSize = 4 << 10

// splitter finds the words of a text.
type splitter struct {
	query  bool
	add    func(word []byte) bool // returns false to end
	ended  bool
	folder *folder

	word   []byte // of a script with spaces, up to MaxWord bytes
	long   bool   // word is the beginning of a longer one
	hash   uint64 // of all letters of a longer one
	suffix string // what follows the word: +, or a #
	dense  []byte // the last letters of a script without spaces, at most two
	single bool   // dense has been one letter so far
	one    []byte // a letter that is a word
}

func newSplitter(query bool, add func([]byte) bool) *splitter {
	return &splitter{query: query, add: add, folder: newFolder(), word: make([]byte, 0, MaxWord+utf8.UTFMax)}
}

// split finds the words of a text, which ends the last one.
func (s *splitter) split(text string) {
	for text != "" && !s.ended {
		end := blockEnd(text)
		for folded := s.folder.fold(text[:end]); len(folded) > 0; {
			r, size := utf8.DecodeRune(folded)
			if s.next(r); s.ended {
				return
			}
			folded = folded[size:]
		}
		text = text[end:]
	}
	s.end()
}

// blockEnd returns the length of the first part of the text that can be folded by itself.
func blockEnd(text string) int {
	if len(text) <= blockSize {
		return len(text)
	}
	end := blockSize
	for ; end < blockSize+64 && end < len(text); end++ {
		if text[end-1] < utf8.RuneSelf && text[end] < utf8.RuneSelf {
			return end
		}
	}
	for end < len(text) && !utf8.RuneStart(text[end]) {
		end++
	}
	rest := text[end:min(len(text), end+blockSize)]
	return end + max(0, norm.NFKC.FirstBoundaryInString(rest))
}

// folder folds texts. It keeps its buffers, so that long texts make no garbage.
type folder struct {
	cases                   cases.Caser
	text, normalized, lower []byte
}

func newFolder() *folder { return &folder{cases: cases.Fold()} }

// fold returns the folded text, which is valid until the next call.
func (f *folder) fold(text string) []byte {
	f.text = append(f.text[:0], text...)
	if isPlain(text) {
		for i, b := range f.text {
			if b >= 'A' && b <= 'Z' {
				f.text[i] = b + 'a' - 'A'
			}
		}
		return f.text
	}
	f.text = withoutIgnored(f.text)
	for range 3 { // each step may make forms that another one folds further
		f.normalized = norm.NFKC.Append(f.normalized[:0], f.text...)
		f.lower, _, _ = transform.Append(f.cases, f.lower[:0], f.normalized) // never fails
		f.normalized = withoutIgnored(norm.NFKC.Append(f.normalized[:0], f.lower...))
		f.text, f.normalized = f.normalized, f.text
		if bytes.Equal(f.text, f.normalized) {
			break
		}
	}
	return f.text
}

// isPlain reports whether only ASCII letters of the text can be folded: the rest are the
// usual letters and punctuation of Chinese and Japanese, which no other form folds to words.
func isPlain(text string) bool {
	for _, r := range text {
		switch {
		case r < utf8.RuneSelf, r >= 0x3400 && r <= 0x9fff, r >= 0x3041 && r <= 0x3096, r >= 0x30a1 && r <= 0x30fc,
			r >= 0x2018 && r <= 0x201d, r == '，', r == '。', r == '、', r == '：', r == '；', r == '？', r == '！', r == '（', r == '）':
		default:
			return false
		}
	}
	return true
}

// withoutIgnored removes characters that have no effect on words from the text.
func withoutIgnored(text []byte) []byte {
	if bytes.IndexFunc(text, isIgnored) < 0 {
		return text
	}
	kept := text[:0]
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if !isIgnored(r) {
			kept = append(kept, text[:size]...)
		}
		text = text[size:]
	}
	return kept
}

// isIgnored reports whether a character is a soft hyphen, a joiner or a variation selector.
func isIgnored(r rune) bool {
	switch r {
	case 0xad, 0x34f, 0x200c, 0x200d, 0x2060, 0xfeff:
		return true
	}
	return r >= 0xfe00 && r <= 0xfe0f || r >= 0xe0100 && r <= 0xe01ef
}

// next adds a character of the folded text.
func (s *splitter) next(r rune) {
	kind := kindOf(r)
	if s.suffix != "" && s.endSuffix(kind) {
		return
	}
	switch kind {
	case letter:
		s.endDense()
		s.letter(r)
	case denseLetter:
		s.endWord("")
		s.denseLetter(r)
	case emoji:
		s.end()
		s.letterWord(r)
	case plus, hash:
		if s.endDense(); len(s.word) > 0 && !s.long {
			s.suffix = string(r)
			return
		}
		s.end()
	case other:
		s.end()
	}
}

// endSuffix ends the word before a suffix, with the suffix if that belongs to it. It
// reports whether the character of this kind is a part of the suffix.
func (s *splitter) endSuffix(next kind) (consumed bool) {
	suffix := s.suffix
	s.suffix = ""
	switch {
	case suffix == "+" && next == plus:
		s.endWord("++")
		return true
	case suffix == "#" && next != letter && next != denseLetter && next != hash:
		s.endWord("#")
	default:
		s.endWord("")
	}
	return false
}

func (s *splitter) letter(r rune) {
	if s.long {
		s.hash = hashed(s.hash, r)
		return
	}
	s.word = utf8.AppendRune(s.word, r)
	if len(s.word) <= MaxWord {
		return
	}
	s.long, s.hash = true, offset64
	for _, r := range string(s.word) {
		s.hash = hashed(s.hash, r)
	}
	end := MaxWord - hashDigits
	for !utf8.RuneStart(s.word[end]) {
		end--
	}
	s.word = s.word[:end]
}

// hashed returns the FNV-1a hash of what has the given hash, followed by r.
func hashed(hash uint64, r rune) uint64 { return (hash ^ uint64(r)) * prime64 } // #nosec G115 -- runes are positive

const (
	offset64, prime64 = 14695981039346656037, 1099511628211
	hashDigits        = 16
)

// endWord ends the current word, if there is one.
func (s *splitter) endWord(suffix string) {
	if len(s.word) == 0 {
		return
	}
	if s.long {
		s.word = fmt.Appendf(s.word, "%016x", s.hash)
	}
	if suffix == "" || !s.query {
		s.found(s.word)
	}
	if suffix != "" && len(s.word)+len(suffix) <= MaxWord {
		s.found(append(s.word, suffix...))
	}
	s.word, s.long = s.word[:0], false
}

// denseLetter adds a letter of a script without spaces.
func (s *splitter) denseLetter(r rune) {
	if len(s.dense) == 0 {
		s.dense = utf8.AppendRune(s.dense, r)
		s.single = true
	} else {
		_, size := utf8.DecodeRune(s.dense)
		if !s.single {
			s.dense = append(s.dense[:0], s.dense[size:]...)
		}
		s.dense = utf8.AppendRune(s.dense, r)
		s.single = false
		s.found(s.dense)
	}
	if !s.query {
		s.letterWord(r)
	}
}

func (s *splitter) letterWord(r rune) {
	s.one = utf8.AppendRune(s.one[:0], r)
	s.found(s.one)
}

// endDense ends a run of letters of a script without spaces.
func (s *splitter) endDense() {
	if s.query && s.single && len(s.dense) > 0 {
		s.found(s.dense)
	}
	s.dense, s.single = s.dense[:0], false
}

func (s *splitter) end() {
	if s.suffix != "" {
		s.endSuffix(other)
	}
	s.endWord("")
	s.endDense()
}

func (s *splitter) found(word []byte) {
	if !s.ended && !s.add(word) {
		s.ended = true
	}
}

// kind is that of a character.
type kind int

const (
	other kind = iota
	letter
	denseLetter // of a script without spaces between words
	emoji
	plus
	hash
)

// kindOf returns the kind of a character. Blocks are constants, so that a new version of
// Unicode doesn't change them. It may add letters; recount then repairs the index.
func kindOf(r rune) kind {
	switch {
	case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
		return letter
	case r == '+':
		return plus
	case r == '#':
		return hash
	case r < utf8.RuneSelf:
		return other
	case r >= 0x2600 && r <= 0x27bf, r >= 0x1f000 && r <= 0x1faff:
		return emoji
	case !unicode.In(r, unicode.L, unicode.M, unicode.N):
		return other
	case isDense(r):
		return denseLetter
	}
	return letter
}

// isDense reports whether a letter is of a script without spaces between words.
func isDense(r rune) bool {
	switch {
	case r >= 0xe00 && r <= 0xeff, r >= 0x1000 && r <= 0x109f, r >= 0x1780 && r <= 0x17ff,
		r >= 0xa9e0 && r <= 0xa9ff, r >= 0xaa60 && r <= 0xaa7f: // Thai, Lao, Burmese, Khmer
		return true
	}
	return isCJK(r)
}
