package main

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestContentIsTheSameEachTime(t *testing.T) {
	require.Equal(t, newWriter().posts(), newWriter().posts())
}

func TestContentKeepsTheRulesOfTheAPI(t *testing.T) {
	titles := map[string]bool{}
	for _, p := range newWriter().posts() {
		require.False(t, titles[p.Title], "twice: %s", p.Title)
		titles[p.Title] = true
		require.LessOrEqual(t, utf8.RuneCountInString(p.Title), 100)
		require.LessOrEqual(t, utf8.RuneCountInString(p.Desc), 255)
		require.Equal(t, strings.TrimSpace(p.Title), p.Title)
		require.Equal(t, strings.TrimSpace(p.Content), p.Content)
		require.True(t, utf8.ValidString(p.Content))
		require.NotContains(t, p.Title+p.Desc+p.Content, "%!", "a format without its argument")
		require.Zero(t, strings.Count(p.Content, "```")%2, "a code block stays open")
	}
	require.Len(t, titles, 1000)
}

func TestContentSizesAreSpreadOverOrdersOfMagnitude(t *testing.T) {
	// The bounds of six equal steps on the logarithmic scale.
	bounds := []int{200, 503, 1257, 3163, 7938, 19921, 50000}
	var counts [6]int
	for _, p := range newWriter().posts() {
		size := len(p.Content)
		require.GreaterOrEqual(t, size, 197)
		require.LessOrEqual(t, size, 50_000)
		for step := range counts {
			if size < bounds[step+1] || step == len(counts)-1 {
				counts[step]++
				break
			}
		}
	}
	for step, count := range counts {
		require.InDelta(t, 1000.0/6, count, 50, "from %d to %d bytes", bounds[step], bounds[step+1])
	}
}

func TestContentHasEverything(t *testing.T) {
	var chinese, english, emoji, code, cover int
	for _, p := range newWriter().posts() {
		han, latin := 0, 0
		for _, r := range p.Title {
			switch {
			case unicode.Is(unicode.Han, r):
				han++
			case unicode.Is(unicode.Latin, r):
				latin++
			}
		}
		if han > 0 {
			chinese++
		} else {
			require.Positive(t, latin)
			english++
		}
		emoji += present(strings.ContainsAny(p.Content, strings.Join(emojis(), "")))
		code += present(strings.Contains(p.Content, "```"))
		cover += present(p.Cover != "")
	}
	require.Equal(t, 500, chinese)
	require.Equal(t, 500, english)
	require.Greater(t, emoji, 500)
	require.Greater(t, code, 300)
	require.InDelta(t, 300, cover, 60)
}

func present(there bool) int {
	if there {
		return 1
	}
	return 0
}

func TestTagsFollowZipf(t *testing.T) {
	names := map[string]bool{}
	for _, name := range tagNames() {
		require.LessOrEqual(t, utf8.RuneCountInString(name), 100)
		names[name] = true
	}
	require.Len(t, names, demoTags, "different names")
	uses := make([]int, demoTags)
	for _, p := range newWriter().posts() {
		require.NotEmpty(t, p.Tags)
		require.LessOrEqual(t, len(p.Tags), maxTags)
		seen := map[int]bool{}
		for _, rank := range p.Tags {
			require.False(t, seen[rank])
			seen[rank] = true
			uses[rank]++
		}
	}
	total := func(from, to int) (sum int) {
		for _, n := range uses[from:to] {
			sum += n
		}
		return sum
	}
	require.NotContains(t, uses, 0, "each tag has an article")
	require.Greater(t, uses[0], 400)
	require.Greater(t, uses[0], uses[1])
	require.Greater(t, uses[1], uses[5])
	require.Greater(t, total(0, 10), total(10, 60), "the first ten outweigh the other fifty")
	require.Less(t, total(50, 60), total(0, 60)/15)
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		text string
		size int
		want string
	}{
		{"abc", 2, "ab"}, {"abc", 3, "abc"}, {"abc", 9, "abc"}, {"你好", 5, "你"}, {"a b", 2, "a."}, {"a\n\n", 3, "a.."},
	} {
		require.Equal(t, c.want, cut(c.text, c.size))
	}
}
