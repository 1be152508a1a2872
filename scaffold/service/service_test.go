package service

import (
	"bytes"
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// project returns a copy of the files of the repository that the commands change.
func project(t *testing.T) string {
	t.Helper()
	to := t.TempDir()
	for _, path := range []string{"pkg/go.mod", "pkg/errcode", "docs/errors.md", "go.work", "services/services.yaml", "services/tag", "deploy/config"} {
		from := filepath.Join(root, path)
		info, err := os.Stat(from)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			err = os.CopyFS(filepath.Join(to, path), os.DirFS(from))
		} else {
			err = copyFile(from, filepath.Join(to, path))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o644)
}

// contents returns the content of all files below a folder.
func contents(t *testing.T, root string) map[string]string {
	t.Helper()
	r := &repository{root: root}
	files, err := r.snapshot()
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for path, text := range files {
		texts[path] = string(text)
	}
	return texts
}

func requireSame(t *testing.T, before, after map[string]string) {
	t.Helper()
	if maps.Equal(before, after) {
		return
	}
	for path := range after {
		if before[path] != after[path] {
			t.Errorf("%s has changed", path)
		}
	}
	for path := range before {
		if _, ok := after[path]; !ok {
			t.Errorf("%s is missing", path)
		}
	}
}

func run(t *testing.T, root, generate string, command func(context.Context, Options, map[string]string) error, args ...string) (string, error) {
	t.Helper()
	return runIn(t.Context(), root, generate, command, args...)
}

func runIn(ctx context.Context, root, generate string, command func(context.Context, Options, map[string]string) error, args ...string) (string, error) {
	values := map[string]string{}
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		values[name] = value
	}
	var out bytes.Buffer
	err := command(ctx, Options{Root: root, Out: &out, Generate: generate}, values)
	return out.String(), err
}

const commentFields = "FIELDS=article_id:uint64 author:string(64) body:text state:state"

// What is added can be removed without a trace.
func TestAddAndRemove(t *testing.T) {
	root := project(t)
	before := contents(t, root)
	out, err := run(t, root, "true", New, "NAME=comment", commentFields)
	if err != nil || !strings.Contains(out, "go test ./services/comment/...") {
		t.Fatal(out, err)
	}
	if _, err := run(t, root, "true", NewResource, "SERVICE=comment", "RESOURCE=vote", "FIELDS=up:bool"); err != nil {
		t.Fatal(err)
	}
	after := contents(t, root)
	for path, want := range map[string]string{
		"pkg/errcode/code.go":    "joined(shared, commentCodes, voteCodes)",
		"pkg/errcode/comment.go": "Code = 20040007",
		"pkg/errcode/vote.go":    "20050007",
		"docs/errors.md":         "| 20050007 | 404 | no such vote |",
		"go.work":                "\t./services/comment\n\t./services/tag\n",
		"services/services.yaml": "  paths: [/api/v1/comments, /api/v1/votes]\n  resources:\n  - name: comment\n    path: /api/v1/comments\n    fields:\n    - article_id:uint64\n",
		"services/comment/internal/bootstrap/bootstrap.go":    "return []resource{comments(), votes()}",
		"services/comment/internal/bootstrap/config.go":       "8083, 9083",
		"services/comment/migrations/mysql/0004_vote.sql":     "blog_vote",
		"services/comment/migrations/sqlite/0001_comment.sql": "blog_comment",
		"services/comment/internal/voteapi/votes.go":          "package voteapi",
		"services/comment/internal/votestore/rows.go":         "type voteRow struct",
	} {
		if !strings.Contains(after[filepath.Join(root, path)], want) {
			t.Errorf("%s lacks %q", path, want)
		}
	}
	for _, resource := range []string{"comment", "vote"} {
		_, err := run(t, root, "true", NewResource, "SERVICE=tag", "RESOURCE="+resource, "FIELDS=up:bool")
		requireError(t, err, "the service comment has the resource "+resource)
	}
	out, err = run(t, root, "true", Remove, "NAME=comment")
	if err != nil || !strings.Contains(out, "a copy of what was not committed is in bin/removed/comment-") {
		t.Fatal(out, err)
	}
	requireSame(t, before, contents(t, root))
}

// A service that follows another one, which then can't be removed.
func TestFollows(t *testing.T) {
	root := project(t)
	if _, err := run(t, root, "true", New, "NAME=comment", "FIELDS=tag_id:uint64 state:state", "FOLLOWS=tag"); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, root, "true", New, "NAME=vote", "FIELDS=comment_id:uint64", "FOLLOWS=comment"); err != nil {
		t.Fatal(err)
	}
	after := contents(t, root)
	for path, want := range map[string]string{
		"services/services.yaml":                                "  paths: [/api/v1/votes]\n  follows: [comment]\n  resources:\n  - name: vote\n",
		"services/comment/internal/tagfeed/tagfeed.go":          "State uint8  `json:\"state\"`",
		"services/vote/internal/commentfeed/commentfeed.go":     "TagID uint64 `json:\"tag_id\"`",
		"services/vote/internal/bootstrap/config.go":            "http://127.0.0.1:8083",
		"services/vote/migrations/sqlite/0001_vote.sql":         "CREATE TABLE blog_comment_projection (\n    id     integer NOT NULL PRIMARY KEY,\n    tag_id bigint  NOT NULL,\n",
		"services/comment/migrations/mysql/0001_comment.sql":    "    name  varchar(100)     NOT NULL,\n    state tinyint unsigned NOT NULL,\n    PRIMARY KEY (id)\n",
		"services/comment/internal/commentfeed/commentfeed.go":  "",
		"services/comment/internal/bootstrap/bootstrap_test.go": `feedtest.NewServer[tagfeed.Tag](t, "tag", "tags")`,
	} {
		if got := after[filepath.Join(root, path)]; !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s lacks %q:\n%s", path, want, got)
		}
	}
	_, err := run(t, root, "true", Remove, "NAME=comment")
	requireError(t, err, "the service vote follows comment: remove vote first")
}

func requireError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

// A resource of the tag service is added beside what is there.
func TestResourceOfTag(t *testing.T) {
	root := project(t)
	if _, err := run(t, root, "true", NewResource, "SERVICE=tag", "RESOURCE=color", "FIELDS=code:string(9)!"); err != nil {
		t.Fatal(err)
	}
	after := contents(t, root)
	for path, want := range map[string]string{
		"services/tag/internal/bootstrap/bootstrap.go": "return []resource{tags(), colors()}",
		"services/tag/migrations/mysql/0004_color.sql": "active_code",
		"services/services.yaml":                       "paths: [/api/v1/tags, /api/v1/colors]",
	} {
		if !strings.Contains(after[filepath.Join(root, path)], want) {
			t.Errorf("%s lacks %q", path, want)
		}
	}
}

// After an error, and after an interruption, everything is as it was.
func TestNothingIsLeftBehind(t *testing.T) {
	root := project(t)
	before := contents(t, root)
	broken := "echo broken >> docs/errors.md; mkdir -p deploy/new; echo > deploy/new/file; rm go.work; exit 3"
	_, err := run(t, root, broken, New, "NAME=comment", commentFields)
	requireError(t, err, "make generate: exit status 3\nnothing has changed")
	requireSame(t, before, contents(t, root))
	_, err = run(t, root, broken, NewResource, "SERVICE=tag", "RESOURCE=color", "FIELDS=code:string(9)")
	requireError(t, err, "nothing has changed")
	requireSame(t, before, contents(t, root))

	ctx, interrupt := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := runIn(ctx, root, "touch generating; sleep 600", New, "NAME=comment", commentFields)
		ended <- err
	}()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(filepath.Join(root, "generating")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("make generate does not begin")
		}
	}
	interrupt()
	requireError(t, <-ended, "interrupted: nothing has changed")
	requireSame(t, before, contents(t, root))

	if _, err := run(t, root, "true", New, "NAME=comment", commentFields); err != nil {
		t.Fatal(err)
	}
	before = contents(t, root)
	_, err = run(t, root, broken, Remove, "NAME=comment")
	requireError(t, err, "nothing has changed")
	requireSame(t, before, contents(t, root))
}

func TestRejected(t *testing.T) {
	root := project(t)
	before := contents(t, root)
	for _, c := range []struct {
		command func(context.Context, Options, map[string]string) error
		args    string
		want    string
	}{
		{New, "FIELDS=a:bool", "NAME is missing, the name of a service, as in NAME=comment"},
		{New, "NAME=comment", "there is no field"},
		{New, "NAME=comment|NAMES=x|FIELDS=a:bool", "there is no argument NAMES"},
		{New, "NAME=tag|RESOURCE=thing|FIELDS=a:bool", "the service tag exists: choose another NAME, remove it"},
		{New, "NAME=thing|RESOURCE=tag|FIELDS=a:bool", "the service tag has the resource tag at /api/v1/tags"},
		{New, "NAME=label|PLURAL=tags|FIELDS=a:bool", "or another PLURAL"},
		{New, "NAME=upper-case|FIELDS=a:bool", "is no name of a service"},
		{New, "NAME=func|FIELDS=a:bool", "func is a word of Go"},
		{New, "NAME=order|FIELDS=a:bool", "order is a word of SQL"},
		{New, "NAME=../x|FIELDS=a:bool", "is no name of a service"},
		{New, "NAME=code|FIELDS=a:bool", "pkg/errcode/code.go exists: choose another name than code"},
		{New, "NAME=comment|FIELDS=a:bool|FOLLOWS=nothing", `there is no service "nothing" to follow: FOLLOWS is one of tag, article`},
		{New, "NAME=comment|FIELDS=a:bool|FOLLOWS=comment", "comment can't follow itself"},
		{New, "NAME=comment|FIELDS=a:bool|FOLLOWS=article", "services/services.yaml lists no fields of what article stores"},
		{New, "NAME=comment|FIELDS=a:bool|FOLLOWS=tag article", "FOLLOWS has several services, tag article, but the setting Feed.URL names one"},
		{NewResource, "SERVICE=tag|RESOURCE=vote|FIELDS=a:bool|FOLLOWS=tag", "there is no argument FOLLOWS"},
		{New, "NAME=comment|FIELDS=number:int64", "every resource has number"},
		{New, "NAME=newsfeed|FIELDS=a:bool", "or the feed of another one"},
		{NewResource, "SERVICE=nothing|RESOURCE=vote|FIELDS=a:bool", `there is no service "nothing": SERVICE is one of tag, article`},
		{NewResource, "SERVICE=tag|FIELDS=a:bool", "RESOURCE is missing"},
		{Remove, "NAME=nothing", `there is no service "nothing"`},
		{Remove, "NAME=tag", "the service article follows tag: remove article first"},
		{Remove, "NAME=article", "the service article issues the tokens of all services: move issuer: true and /auth to another"},
	} {
		_, err := run(t, root, "true", c.command, strings.Split(c.args, "|")...)
		requireError(t, err, c.want)
	}
	requireSame(t, before, contents(t, root))
}
