package main

import (
	"bytes"
	"fmt"
	"strings"
)

const (
	begin = "<!-- generated from values.yaml by make chart: begin -->\n"
	end   = "<!-- generated from values.yaml by make chart: end -->\n"
)

// readme replaces the tables of values between the two marks of the old text.
func readme(old []byte, values *value) ([]byte, error) {
	before, rest, ok := bytes.Cut(old, []byte(begin))
	_, after, closed := bytes.Cut(rest, []byte(end))
	if !ok || !closed {
		return nil, fmt.Errorf("the marks of the tables of values are missing: %s%s", begin, end)
	}
	var text bytes.Buffer
	text.Write(before)
	text.WriteString(begin)
	tables(&text, values)
	text.WriteString(end)
	text.Write(after)
	return text.Bytes(), nil
}

// tables writes a table for each map, and one for the values outside of them.
func tables(text *bytes.Buffer, values *value) {
	single := &value{}
	for _, v := range values.children {
		if !v.closed {
			single.children = append(single.children, v)
		}
	}
	table(text, single)
	for _, v := range values.children {
		if !v.closed {
			continue
		}
		_, _ = fmt.Fprintf(text, "\n### %s\n\n", v.key())
		if v.section != "" {
			_, _ = fmt.Fprintf(text, "%s\n\n", strings.ReplaceAll(v.section, "\n", " "))
		}
		table(text, v)
	}
}

func table(text *bytes.Buffer, values *value) {
	text.WriteString("| Value | Default | |\n|---|---|---|\n")
	rows(text, values)
}

func rows(text *bytes.Buffer, values *value) {
	for _, v := range values.children {
		if v.closed {
			rows(text, v)
			continue
		}
		_, _ = fmt.Fprintf(text, "| `%s` | %s | %s |\n", v.key(), shown(v.fallback()), strings.ReplaceAll(v.about, "|", "\\|"))
	}
}

// shown returns what the column of defaults shows.
func shown(fallback string) string {
	const widest = 90
	if len(fallback) > widest {
		return "see values.yaml"
	}
	return "`" + fallback + "`"
}
