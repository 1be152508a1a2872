package frontmatter

import (
	"regexp"
	"strings"
)

// references match what names an image in a text; the group is the reference.
var references = []*regexp.Regexp{
	regexp.MustCompile(`!\[[^\]\n]*\]\(\s*<?([^)\s>]+)>?(?:\s+(?:"[^"\n]*"|'[^'\n]*'))?\s*\)`),
	regexp.MustCompile(`(?i)<img\b[^>]*?\ssrc\s*=\s*["']([^"'>]+)["']`),
	regexp.MustCompile(`\{\{[<%]\s*(?:figure|img)\b[^}]*?\bsrc\s*=\s*["']([^"'}]+)["']`),
	regexp.MustCompile(`\{%\s*asset_img\s+(?:[\w-]+\s+)??(/[^\s%]+|[^\s%]+\.\w+)`),
}

// ReplaceImages replaces each reference to an image in a Markdown text, outside of code, by what use
// returns for it. References are those of Markdown and HTML, and of tags of Hugo and Hexo.
func ReplaceImages(content string, use func(reference string) string) string {
	var result strings.Builder
	fence := ""
	for line := range strings.Lines(content) {
		start := strings.TrimLeft(line, " ")
		switch {
		case fence != "" && strings.HasPrefix(start, fence):
			fence = ""
		case fence == "" && (strings.HasPrefix(start, "```") || strings.HasPrefix(start, "~~~")):
			fence = start[:3]
		case fence == "":
			line = inLine(line, use)
		}
		result.WriteString(line)
	}
	return result.String()
}

func inLine(line string, use func(string) string) string {
	for _, pattern := range references {
		for _, at := range backwards(pattern.FindAllStringSubmatchIndex(line, -1)) {
			line = line[:at[2]] + use(line[at[2]:at[3]]) + line[at[3]:]
		}
	}
	return line
}

// backwards returns matches from the last to the first, so that replacing one doesn't move others.
func backwards(matches [][]int) [][]int {
	for i, j := 0, len(matches)-1; i < j; i, j = i+1, j-1 {
		matches[i], matches[j] = matches[j], matches[i]
	}
	return matches
}
