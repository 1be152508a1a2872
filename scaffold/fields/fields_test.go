package fields_test

import (
	"strings"
	"testing"

	"github.com/achilles-blog/achilles/scaffold/fields"
)

func TestParse(t *testing.T) {
	const text = "article_id:uint64 author:string(64)! body:text note:string(700)? score:int64? open:bool at:time state:state"
	all, err := fields.Parse("  " + strings.ReplaceAll(text, " ", "\n ") + " ")
	if err != nil {
		t.Fatal(err)
	}
	var written []string
	for _, f := range all {
		written = append(written, f.String())
	}
	if got := strings.Join(written, " "); got != text {
		t.Errorf("got %s", got)
	}
	want := fields.Field{Name: "author", Type: fields.String, Size: 64, Unique: true}
	if all[1] != want {
		t.Errorf("got %+v, want %+v", all[1], want)
	}
}

func TestParseRejects(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "there is no field",
		"author":                           `field "author": write NAME:TYPE`,
		"author:string":                    "a string has a size from 1 to 700, as in author:string(64)",
		"author:string(0)":                 "a string has a size from 1 to 700",
		"author:string(701)":               "longer ones are of the type text",
		"author:string(99999999999999999)": "a string has a size from 1 to 700",
		"author:string(x)":                 "write NAME:TYPE",
		"author:varchar(64)":               `"varchar" is no type`,
		"body:text(64)":                    "only a string has a size: write body:text",
		"n:float":                          `"float" is no type`,
		"status:state":                     "a field of the type state is named state",
		"state:bool":                       "write state:state, or choose another name",
		"at:time?":                         "can't be optional: leave out the ?",
		"body:text!":                       "a unique field is a uint64 or a string of at most 255 characters",
		"name:string(256)!":                "of at most 255 characters",
		"name:string(25)!?":                "and not optional",
		"Author:string(64)":                "lower-case words of letters and digits with single _ between them",
		"article__id:uint64":               "no name of a field",
		"_id:uint64":                       "no name of a field",
		"a;drop:uint64":                    "no name of a field",
		"id:uint64":                        "every resource has id",
		"created_at:time":                  "every resource has created_at",
		"page:uint64":                      "or a parameter of its name",
		"type:uint64":                      "type is a word of Go: choose another name, such as type_value",
		"len:uint64":                       "is a word of Go",
		"desc:text":                        "desc is a word of SQL",
		"group:uint64":                     "group is a word of SQL",
		"abcdefghijklmnopqrstu:uint64":     "names have at most 20 characters",
		"a:uint64 a:int64":                 "a:uint64 and a:int64 have the same name in Go, A",
		"a_id:uint64 a_Id:uint64":          "no name of a field",
		"a:string(9)! b:string(9)!":        "a and b are both unique",
		"state:state":                      "a resource needs a field beside its state",
		"a:text b:text c:text":             "the fields may have 30000 characters together, but a request holds at most 21000",
		strings.Repeat("a:text ", 25):      "at most 24",
	} {
		_, err := fields.Parse(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	_, err := fields.Parse("type:uint64 n:float ok:bool")
	if err == nil || !strings.Contains(err.Error(), "type is a word") || !strings.Contains(err.Error(), "float") {
		t.Errorf("everything that is wrong is reported: %v", err)
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"comment": "", "order2": "", "select": "a word of Go", "order": "a word of SQL", "func": "a word of Go", "Comment": "lower-case letters", "com-ment": "lower-case letters",
		"2nd": "begins with a letter", "": "has no name", "../x": "no name of a service", "abcdefghijklmnopqrstu": "at most 20", "test": "names something else here",
	} {
		requireError(t, fields.CheckService(name), want)
	}
	for _, c := range []struct{ name, plural, want string }{
		{"vote", "votes", ""}, {"news", "news", "PLURAL="}, {"vote", "Votes", "(PLURAL=… sets it)"}, {"bookstore", "bookstores", "look like the api, the store or the feed"},
		{"memory", "memories", "name of a package"}, {"change", "changes", "word of SQL"}, {"page", "pages", "every resource has"},
	} {
		requireError(t, fields.CheckResource(c.name, c.plural), c.want)
	}
}

func requireError(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestWords(t *testing.T) {
	for name, want := range map[string]string{"comment": "comments", "category": "categories", "day": "days", "box": "boxes", "class": "classes", "branch": "branches", "vote": "votes"} {
		if got := fields.Plural(name); got != want {
			t.Errorf("%s: got %s", name, got)
		}
	}
	for name, want := range map[string]string{"article_id": "ArticleID", "url": "URL", "created": "Created", "home_page_url": "HomePageURL", "a1": "A1"} {
		if got := fields.GoName(name); got != want {
			t.Errorf("%s: got %s", name, got)
		}
	}
	if fields.Article("article") != "an" || fields.Article("user") != "a" || fields.Article("vote") != "a" {
		t.Error("indefinite articles")
	}
}
