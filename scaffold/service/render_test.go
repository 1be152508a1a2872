package service

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/achilles-blog/achilles/scaffold/fields"
)

const root = "../.."

// parse returns a resource of a service that is listed first.
func parse(t *testing.T, name, text string) Resource {
	t.Helper()
	all, err := fields.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	r := newResource(name, fields.Plural(name), all)
	r.Module, r.Service, r.First, r.Number, r.Version, r.Port, r.AdminPort = "github.com/achilles-blog/achilles", name, true, 1, "0001", 8081, 9081
	return r
}

// byHand are the files of the tag service in which more is than the templates make: lists
// by the beginning of names, and what else is special about tags.
func byHand() []string {
	return []string{
		"internal/api/tags.go", "internal/store/list.go", "internal/store/page.go", "internal/tag/order.go", "internal/tag/tag.go",
		"migrations/mysql/0001_tag.sql", "migrations/sqlite/0001_tag.sql", "docs/openapi.json",
	}
}

// The tag service is what the templates make, but for the files that are written by hand.
func TestTagIsMadeOfTheTemplates(t *testing.T) {
	r := parse(t, "tag", "name:string(100)! state:state")
	r.zh, r.tw, r.Fields[0].example = "标签", "標籤", "Kubernetes"
	files, err := r.render()
	if err != nil {
		t.Fatal(err)
	}
	same := 0
	for name, want := range files {
		if slices.Contains(byHand(), name) || strings.HasSuffix(name, "_test.go") {
			continue
		}
		got, err := os.ReadFile(filepath.Join(root, "services/tag", name))
		if err != nil {
			t.Error(err)
			continue
		}
		if string(got) != string(want) {
			t.Errorf("services/tag/%s is not what its template in scaffold/service/templates makes: change both in the same way%s", name, difference(string(want), string(got)))
		}
		same++
	}
	if same < 20 {
		t.Errorf("only %d files are compared", same)
	}
}

// difference returns the first line that differs.
func difference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return "\n  template: " + a[i] + "\n  service:  " + b[i]
		}
	}
	return ""
}

// Whatever its fields are, what the templates make of a resource can be parsed, and is
// formatted.
func TestRender(t *testing.T) {
	for _, text := range []string{
		"body:text", "up:bool", "at:time", "author:string(1)!", "n:int64? note:string(700)? state:state", "a:text b:text state:state",
		"article_id:uint64! author:string(255) body:text score:int64? nick:string(30)? open:bool? seen:time state:state",
	} {
		for _, first := range []bool{true, false} {
			r := parse(t, "category", text)
			r.First = first
			files, err := r.render()
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			for name, content := range files {
				if strings.Contains(string(content), "<no value>") || regexp.MustCompile(`(?i)[^e]\btags?\b`).Match(content) && strings.HasSuffix(name, ".sql") {
					t.Errorf("%s: %s has what isn't its own", text, name)
				}
				if strings.HasSuffix(name, ".go") {
					if _, err := parser.ParseFile(token.NewFileSet(), name, content, 0); err != nil {
						t.Error(err)
					}
				}
			}
			if _, ok := files["main.go"]; ok != first {
				t.Errorf("first %v: main.go %v", first, ok)
			}
		}
	}
}

func TestAlignSQL(t *testing.T) {
	const text = "CREATE TABLE a (\n    id bigint NOT NULL,\n    created_at datetime(3) NOT NULL DEFAULT 1,\n    PRIMARY KEY (id)\n"
	const want = "CREATE TABLE a (\n    id         bigint      NOT NULL,\n    created_at datetime(3) NOT NULL DEFAULT 1,\n    PRIMARY KEY (id)\n"
	if got := alignSQL(text); got != want {
		t.Errorf("got\n%s", got)
	}
}
