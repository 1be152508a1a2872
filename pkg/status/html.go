package status

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"strings"
)

const style = `body{font:14px/1.4 system-ui,sans-serif;margin:1.5em;color:#222;background:#fff}
h1{font-size:1.4em}h2{font-size:1.1em;margin:1.5em 0 .3em}
table{border-collapse:collapse}th,td{text-align:left;vertical-align:top;padding:.15em 1em .15em 0;border-bottom:1px solid #ddd}
td{white-space:pre-wrap;overflow-wrap:anywhere;font-family:ui-monospace,monospace;font-size:13px}
a{margin-right:1em}`

// contentSecurityPolicy allows the page its own style, and nothing else.
var contentSecurityPolicy = fmt.Sprintf("default-src 'none'; style-src 'sha256-%s'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'", hash(style))

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// page is the template of a page. A table has the names of its fields in the first column,
// or a header.
var page = template.Must(template.New("page").Funcs(template.FuncMap{"shown": shown, "heading": heading}).Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Title}}</title><style>` + style + `</style></head><body>
<h1>{{.Title}}</h1>
<p>{{range .Links}}<a href="{{.Path}}">{{.About}}</a>{{end}}</p>
{{range .Sections}}<h2 id="{{.Name}}">{{heading .Name}}</h2>
<table>{{with .Table}}
<tr>{{range .Columns}}<th>{{heading .}}</th>{{end}}</tr>{{range .Rows}}
<tr>{{range .}}<td>{{shown .}}</td>{{end}}</tr>{{else}}
<tr><td>none</td></tr>{{end}}{{end}}{{range .Fields}}
<tr><th>{{heading .Name}}</th><td>{{shown .Value}}</td></tr>{{end}}
</table>
{{end}}</body></html>
`))

// pageData is what the template needs.
type pageData struct {
	Title    string
	Links    []Link
	Sections []sectionData
}

type sectionData struct {
	Name   string
	Table  *Table
	Fields Fields
}

func (p *Page) html() ([]byte, error) {
	data := pageData{Title: p.title, Links: p.links}
	for _, field := range p.content() {
		s := sectionData{Name: field.Name}
		switch content := field.Value.(type) {
		case Table:
			s.Table = &content
		case Fields:
			s.Fields = content
		}
		data.Sections = append(data.Sections, s)
	}
	var body bytes.Buffer
	err := page.Execute(&body, data)
	return body.Bytes(), err
}

func heading(name string) string { return strings.ReplaceAll(name, "_", " ") }

// shown returns the text of a value, which is its JSON unless that is a text.
func shown(value any) (string, error) {
	encoded, err := json.Marshal(value)
	if err != nil || string(encoded) == "null" {
		return "", err
	}
	var text string
	if json.Unmarshal(encoded, &text) == nil {
		return text, nil
	}
	return string(encoded), nil
}
