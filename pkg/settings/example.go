package settings

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Example returns a YAML file that [Load] reads: every setting of the configuration that dst points to, with its usage tag as
// a comment and its present value, and "(live)" if it changes while the process runs. Secrets are left empty.
func Example(dst any) (string, error) {
	known, err := describe(dst)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	written := ""
	for _, f := range known.fields {
		section, name := split(f.key)
		if section != written {
			fmt.Fprintf(&text, "\n%s:\n", section)
			written = section
		}
		fmt.Fprintf(&text, "%s  %s: %s\n", comment(f.about(), "  # "), name, f.yaml())
	}
	return strings.TrimPrefix(text.String(), "\n"), nil
}

// about returns the comment of a setting.
func (f field) about() string {
	if f.live {
		return f.usage + " (live)"
	}
	return f.usage
}

// comment breaks a text into lines of up to 100 bytes, each after the prefix.
func comment(text, prefix string) string {
	var lines strings.Builder
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(prefix)+len(line)+1+len(word) > 100 {
			lines.WriteString(prefix + line + "\n")
			line = ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	if line != "" {
		lines.WriteString(prefix + line + "\n")
	}
	return lines.String()
}

// yaml is the setting's value as YAML.
func (f field) yaml() string {
	switch value := f.value.Interface().(type) {
	case Secret:
		return `""`
	case string:
		return strconv.Quote(value)
	case time.Duration:
		return shortDuration(value)
	case []string:
		quoted := make([]string, len(value))
		for i, item := range value {
			quoted[i] = strconv.Quote(item)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	return f.text()
}

// shortDuration drops what is zero at the end: 1h0m0s is 1h.
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
