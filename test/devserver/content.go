package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode/utf8"
)

// The size of the demo's content, which is the same in every run, so that a second
// run finds that of the first.
const (
	demoTags       = 60
	demoArticles   = 1000
	demoSeed       = 20180926
	smallest       = 200    // bytes of content
	largest        = 50_000 // bytes of content
	maxTags        = 4      // of an article
	zipfExponent   = 1.1
	codeProbable   = 0.25 // after a paragraph
	emojiProbable  = 0.15 // after a sentence
	coverProbable  = 0.3
	headingEach    = 3   // paragraphs
	sentencesAtMax = 7   // in a paragraph
	cutReserve     = 100 // bytes after a code block
)

// post is an article as it is sent; its tags are given by rank, 0 being the
// most used one.
type post struct {
	Title, Desc, Content, Cover string
	Tags                        []int
}

// writer writes the demo's articles.
type writer struct {
	random    *rand.Rand
	zipf      *rand.Zipf
	languages []language
	titles    [][]int // per language: the combinations of topic and angle still to be used
	code      []string
	emoji     []string
}

func newWriter() *writer {
	random := rand.New(rand.NewPCG(demoSeed, 0)) // #nosec G404 -- the same content each time is what it is for
	w := &writer{
		random:    random,
		zipf:      rand.NewZipf(random, zipfExponent, 1, demoTags-1),
		languages: []language{chinese(), english()},
		code:      codeBlocks(),
		emoji:     emojis(),
	}
	for _, l := range w.languages {
		w.titles = append(w.titles, random.Perm(len(l.topics)*len(l.angles)))
	}
	return w
}

// posts returns all articles of the demo, Chinese and English in turn. No two
// have the same title.
func (w *writer) posts() []post {
	posts := make([]post, demoArticles)
	for i := range posts {
		posts[i] = w.post(i)
	}
	return posts
}

func (w *writer) post(n int) post {
	which := n % len(w.languages)
	l := w.languages[which]
	combination := w.titles[which][n/len(w.languages)]
	topic, angle := l.topics[combination/len(l.angles)], l.angles[combination%len(l.angles)]
	p := post{
		Title: fmt.Sprintf(l.title, topic, angle),
		Desc:  fmt.Sprintf(l.desc, topic),
		Tags:  w.tags(),
	}
	if w.chance(emojiProbable) {
		p.Title += " " + w.pick(w.emoji)
	}
	if w.chance(coverProbable) {
		p.Cover = fmt.Sprintf("https://images.example.com/covers/%04d.jpg", n+1)
	}
	p.Content = w.content(l, topic, w.size())
	return p
}

// size is spread evenly over the orders of magnitude between smallest and
// largest.
func (w *writer) size() int {
	return int(smallest * math.Pow(float64(largest)/smallest, w.random.Float64()))
}

// tags draws one to maxTags different tags by Zipf's law.
func (w *writer) tags() []int {
	var tags []int
	for wanted := 1 + w.random.IntN(maxTags); len(tags) < wanted; {
		if tag := int(w.zipf.Uint64()); !slices.Contains(tags, tag) { // #nosec G115 -- below demoTags
			tags = append(tags, tag)
		}
	}
	return tags
}

// content writes Markdown of at most size bytes, and at most 3 bytes less.
func (w *writer) content(l language, topic string, size int) string {
	var text strings.Builder
	for n := 0; text.Len() < size; n++ {
		if n%headingEach == headingEach-1 {
			fmt.Fprintf(&text, "## %s\n\n", w.pick(l.headings))
		}
		w.paragraph(&text, l, topic)
		// What follows a block is text to be cut, so that no block stays open.
		if block := w.pick(w.code); w.chance(codeProbable) && text.Len()+len(block)+cutReserve <= size {
			text.WriteString(block + "\n\n")
		}
	}
	return cut(text.String(), size)
}

func (w *writer) paragraph(text *strings.Builder, l language, topic string) {
	for range 2 + w.random.IntN(sentencesAtMax-1) {
		sentence := w.pick(l.sentences)
		if strings.Contains(sentence, "%s") {
			sentence = fmt.Sprintf(sentence, topic)
		}
		text.WriteString(sentence)
		if w.chance(emojiProbable) {
			text.WriteString(l.between + w.pick(w.emoji))
		}
		text.WriteString(l.between)
	}
	text.WriteString("\n\n")
}

// cut shortens text to at most size bytes without splitting a character. A
// blank at the end becomes a full stop: the API may trim what it stores.
func cut(text string, size int) string {
	for size < len(text) && !utf8.RuneStart(text[size]) {
		size--
	}
	text = text[:min(size, len(text))]
	if trimmed := strings.TrimRight(text, " \n"); trimmed != text {
		return trimmed + strings.Repeat(".", len(text)-len(trimmed))
	}
	return text
}

func (w *writer) pick(from []string) string { return from[w.random.IntN(len(from))] }

func (w *writer) chance(probability float64) bool { return w.random.Float64() < probability }
