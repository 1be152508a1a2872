// Package status shows the state of a process: as pages for people, and the same as JSON for
// programs.
package status

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
)

// Content is what a section has: Fields or a Table.
type Content interface{ json.Marshaler }

// Field is a value with a name. Values are shown by their JSON, texts without quotes.
type Field struct {
	Name  string
	Value any
}

// Fields are an object, whose members keep their order.
type Fields []Field

// MarshalJSON implements json.Marshaler.
func (f Fields) MarshalJSON() ([]byte, error) {
	object := bytes.NewBufferString("{")
	for i, field := range f {
		name, err := json.Marshal(field.Name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(field.Value)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			object.WriteByte(',')
		}
		object.Write(name)
		object.WriteByte(':')
		object.Write(value)
	}
	object.WriteByte('}')
	return object.Bytes(), nil
}

// Table is a list of objects, one a row.
type Table struct {
	Columns []string
	Rows    [][]any
}

// MarshalJSON implements json.Marshaler.
func (t Table) MarshalJSON() ([]byte, error) {
	objects := make([]Fields, len(t.Rows))
	for i, row := range t.Rows {
		for j, column := range t.Columns {
			objects[i] = append(objects[i], Field{column, row[j]})
		}
	}
	return json.Marshal(objects)
}

// Link leads from one page to another.
type Link struct{ Path, About string }

// Page is a page with sections. Its methods are safe for concurrent use.
type Page struct {
	title string
	links []Link

	mu       sync.Mutex
	sections []section
}

type section struct {
	name    string
	content func() Content
}

// New returns a page without sections.
func New(title string, links ...Link) *Page { return &Page{title: title, links: links} }

// Add adds a section, whose content is made for each request. The name is a key in JSON; on
// the page its underscores are spaces.
func (p *Page) Add(name string, content func() Content) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sections = append(p.sections, section{name, content})
}

// ServeHTTP writes HTML if the client accepts it, as browsers do, and else JSON.
// ?format=html and ?format=json choose as well.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Vary", "Accept")
	var body []byte
	var err error
	switch format := r.URL.Query().Get("format"); {
	case format == "html", format == "" && strings.Contains(r.Header.Get("Accept"), "text/html"):
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Content-Security-Policy", contentSecurityPolicy)
		body, err = p.html()
	case format == "json", format == "":
		header.Set("Content-Type", "application/json; charset=utf-8")
		body, err = p.json()
	default:
		http.Error(w, "format must be html or json", http.StatusBadRequest)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(body)
}

// content returns the content of all sections.
func (p *Page) content() Fields {
	p.mu.Lock()
	sections := p.sections
	p.mu.Unlock()
	all := make(Fields, len(sections))
	for i, s := range sections {
		all[i] = Field{s.name, s.content()}
	}
	return all
}

func (p *Page) json() ([]byte, error) {
	body, err := json.MarshalIndent(p.content(), "", "  ")
	return append(body, '\n'), err
}
