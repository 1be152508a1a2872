package search

// IsDense is isDense.
func IsDense(r rune) bool { return isDense(r) }

// FoldWords returns the text as words are found in it.
func FoldWords(text string) string { return string(newFolder().fold(text)) }

// Cut returns what is indexed of a word.
func Cut(word string) string {
	s := newSplitter(false, func([]byte) bool { return true })
	for _, r := range word {
		s.letter(r)
	}
	cut := ""
	s.add = func(word []byte) bool { cut = string(word); return true }
	s.end()
	return cut
}
