package frontmatter

import (
	"regexp"
	"strings"
)

// A Reference is what a text names: an image that it shows, or what it links to.
type Reference struct {
	Path string
	// Suffix is the query and the fragment, with ? and #.
	Suffix string
	Image  bool
}

// ParseReference splits a reference.
func ParseReference(text string) Reference {
	if i := strings.IndexAny(text, "?#"); i >= 0 {
		return Reference{Path: text[:i], Suffix: text[i:]}
	}
	return Reference{Path: text}
}

// references match what names something in a line; the group path is the reference, and the group
// image is there if it is an image. Each search ends close to what it finds, so that a line takes
// linear time.
var references = []*regexp.Regexp{
	regexp.MustCompile(`(?P<image>!\[[^\]\n]*)?\]\(\s*<?(?P<path>[^)\s>]+)>?(?:\s+(?:"[^"\n]*"|'[^'\n]*'))?\s*\)`),
	regexp.MustCompile(`^ {0,3}\[[^\]^\n][^\]\n]*\]:\s*<?(?P<path>[^\s>]+)`),
	regexp.MustCompile(`(?i)(?P<image>(?:<img|\{\{[<%]\s*(?:figure|img))\b[^>}]*?)?\s(?:src|href|poster|data)\s*=\s*["'](?P<path>[^"'>}]+)["']`),
	regexp.MustCompile(`\{%\s*(?:(?P<image>asset_img)|asset_link|asset_path)\s+(?:[\w-]+\s+)??(?P<path>/[^\s%]+|[^\s%]+\.\w+)`),
}

// ReplaceReferences replaces the path of each reference in a Markdown text, outside of blocks of code, by
// what use returns for it. References are those of Markdown and HTML, and of tags of Hugo and Hexo.
func ReplaceReferences(content string, use func(Reference) string) string {
	var result strings.Builder
	result.Grow(len(content))
	fence := ""
	for line := range strings.Lines(content) {
		start := strings.TrimLeft(line, " ")
		switch {
		case fence != "" && strings.HasPrefix(start, fence):
			fence = ""
		case fence == "" && (strings.HasPrefix(start, "```") || strings.HasPrefix(start, "~~~")):
			fence = start[:3]
		case fence == "":
			for _, pattern := range references {
				line = replaceAll(line, pattern, use)
			}
		}
		result.WriteString(line)
	}
	return result.String()
}

// replaceAll replaces the references in a line that a pattern matches.
func replaceAll(line string, pattern *regexp.Regexp, use func(Reference) string) string {
	found := pattern.FindAllStringSubmatchIndex(line, -1)
	if len(found) == 0 {
		return line
	}
	var result strings.Builder
	path, image, end := 2*pattern.SubexpIndex("path"), 2*pattern.SubexpIndex("image"), 0
	for _, at := range found {
		one := ParseReference(line[at[path]:at[path+1]])
		one.Image = image > 0 && at[image] >= 0
		result.WriteString(line[end:at[path]])
		result.WriteString(use(one))
		result.WriteString(one.Suffix)
		end = at[path+1]
	}
	result.WriteString(line[end:])
	return result.String()
}
