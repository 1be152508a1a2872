package main

import (
	"bytes"
	"fmt"
	"strings"
)

const (
	begin = "<!-- made of values.yaml by make chart: begin -->\n"
	end   = "<!-- made of values.yaml by make chart: end -->\n"
)

// readme puts the tables of values between the two marks of the old text.
func readme(old []byte, values *value) ([]byte, error) {
	before, rest, ok := bytes.Cut(old, []byte(begin))
	_, after, closed := bytes.Cut(rest, []byte(end))
	if !ok || !closed {
		return nil, fmt.Errorf("lacks the lines between which the tables of values belong: %s%s", begin, end)
	}
	var text bytes.Buffer
	text.Write(before)
	text.WriteString(begin)
	tables(&text, values)
	text.WriteString(end)
	text.Write(after)
	return text.Bytes(), nil
}

// tables writes one for each map, and one for what stands outside of them. Of article's values only those that differ from
// tag's are in it.
func tables(text *bytes.Buffer, values *value) {
	single := &value{}
	for _, v := range values.children {
		if v.isLeaf() {
			single.children = append(single.children, v)
		}
	}
	table(text, single, nil)
	for _, v := range values.children {
		if v.isLeaf() {
			continue
		}
		_, _ = fmt.Fprintf(text, "\n### %s\n\n", v.key())
		if v.section != "" {
			_, _ = fmt.Fprintf(text, "%s\n\n", strings.ReplaceAll(v.section, "\n", " "))
		}
		if v.key() == "article" {
			text.WriteString("The same values as `tag`; these defaults differ:\n\n")
			table(text, v, values.child("tag"))
			continue
		}
		table(text, v, nil)
	}
}

func table(text *bytes.Buffer, values, twin *value) {
	text.WriteString("| Value | Default | |\n|---|---|---|\n")
	rows(text, values, twin)
}

func rows(text *bytes.Buffer, values, twin *value) {
	for _, v := range values.children {
		same := twin.child(v.path[len(v.path)-1])
		if !v.isLeaf() {
			rows(text, v, same)
			continue
		}
		if same != nil && same.fallback() == v.fallback() {
			continue
		}
		_, _ = fmt.Fprintf(text, "| `%s` | %s | %s |\n", v.key(), shown(v.fallback()), strings.ReplaceAll(v.about, "|", "\\|"))
	}
}

// shown keeps the column of defaults narrow.
func shown(fallback string) string {
	const widest = 90
	if len(fallback) > widest {
		return "see values.yaml"
	}
	return "`" + fallback + "`"
}
