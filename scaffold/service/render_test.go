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

// What follows the feed of tags in the article service is what the templates make.
func TestArticleFollowsTagsByTheTemplates(t *testing.T) {
	r := parse(t, "article", "title:string(100)")
	r.follow(followed(t, "tag", "name:string(100)! state:state"))
	want, err := r.execute("feed/feed.go")
	if err != nil {
		t.Fatal(err)
	}
	const name = "services/article/internal/tagfeed/tagfeed.go"
	got, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s is not what scaffold/service/templates/feed makes: change both in the same way%s", name, difference(string(want), string(got)))
	}
}

// followed returns the resource of another service.
func followed(t *testing.T, name, text string) Resource {
	t.Helper()
	r := parse(t, name, text)
	r.Port = 8000
	return r
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

// A field with the name and the type of an id of the followed resource refers to it.
func TestRenderFollows(t *testing.T) {
	for _, c := range []struct {
		fields, followed string
		refers           bool
	}{
		{"tag_id:uint64 body:text state:state", "name:string(100)! state:state", true}, {"tag_id:uint64? at:time", "at:time n:int64?", true},
		{"tag_id:uint64!", "body:text", true}, {"tag_id:int64", "up:bool", false}, {"tag:uint64", "name:string(9)", false},
	} {
		r := parse(t, "comment", c.fields)
		r.follow(followed(t, "tag", c.followed))
		files, err := r.render()
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		for name, content := range files {
			if strings.HasSuffix(name, ".go") {
				if _, err := parser.ParseFile(token.NewFileSet(), name, content, 0); err != nil {
					t.Error(err)
				}
			}
		}
		for in, want := range map[string]bool{
			"internal/tagfeed/tagfeed.go|type Tag struct": true, "internal/tagfeed/tagfeed_test.go|feedtest.ReadModel": true, "internal/bootstrap/bootstrap.go|service.Follow": true,
			"internal/bootstrap/config.go|http://127.0.0.1:8000": true, "migrations/mysql/0001_comment.sql|blog_tag_projection": true, "migrations/sqlite/0001_comment.sql|blog_tag_offset": true,
			"internal/bootstrap/bootstrap.go|follower.CatchUp": c.refers, "internal/comment/batch.go|UnknownTag": c.refers, "internal/store/create.go|requireTags": c.refers,
			"internal/api/comments_test.go|TestUnknownTag": c.refers,
		} {
			file, text, _ := strings.Cut(in, "|")
			if got := strings.Contains(string(files[file]), text); got != want {
				t.Errorf("%+v: %s has %q: %v", c, file, text, got)
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
