package database

import (
	"io"
	"io/fs"
	"strings"
)

// writtenPrefix is the prefix of tables and indexes in the SQL of migrations.
const writtenPrefix = "blog_"

// prefixed is a file system of SQL files in which writtenPrefix is replaced.
type prefixed struct {
	fs.FS
	prefix string
}

// Open implements fs.FS.
func (p prefixed) Open(name string) (fs.File, error) {
	file, err := p.FS.Open(name)
	if err != nil || !strings.HasSuffix(name, ".sql") {
		return file, err
	}
	content, err := io.ReadAll(file)
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	text := strings.ReplaceAll(string(content), writtenPrefix, p.prefix)
	return rewritten{File: file, text: strings.NewReader(text)}, nil
}

type rewritten struct {
	fs.File
	text *strings.Reader
}

// Read implements fs.File.
func (r rewritten) Read(b []byte) (int, error) { return r.text.Read(b) }
