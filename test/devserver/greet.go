package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// greet tells the person where everything is and what to try.
func (s *system) greet(ctx context.Context, client *api) {
	var routes, metrics []string
	for _, svc := range s.services {
		routes = append(routes, s.base+svc.Paths[0])
		metrics = append(metrics, fmt.Sprintf("%s/metrics (%s)", svc.admin, svc.Name))
	}
	const indent = "\n             "
	s.say(`Achilles is ready on %[1]s

  API        %[2]s
  Swagger UI %[1]s/swagger/
  Metrics    %[3]s
  Data       %[4]s (logs in log/)
  Client     app_key %[5]s, app_secret %[6]s

Reads need no token, writes do. In another terminal:

`, s.base, strings.Join(routes, indent), strings.Join(metrics, indent), s.data.Dir, s.client.key, s.client.secret)
	lines, about := s.curlLists(), "get a token, list what there is."
	if s.has("tag", "article") {
		lines, about = curlLines(s.base, s.client, unusedName(ctx, client)), "get a token, create a tag, create an article with that tag, list the articles."
		s.say("  %smake demo    adds 60 tags and 1,000 articles\n", setData(s.data.Dir))
	}
	s.say("  %smake token   prints a token\n\nOr with curl: %s\n\n", setData(s.data.Dir), about)
	for _, line := range lines {
		s.say("  %s\n", line)
	}
	s.say("\nCtrl-C stops it.\n")
}

// curlLists are commands for any POSIX shell that get a token and list what the services store.
func (s *system) curlLists() []string {
	lines := []string{curlToken(s.base, s.client)}
	for _, svc := range s.services {
		for _, r := range svc.Resources {
			lines = append(lines, fmt.Sprintf(`curl -sS -w '\n' -H "Authorization: Bearer $TOKEN" '%s%s?page_size=3'`, s.base, r.Path))
		}
	}
	return lines
}

func curlToken(base string, own credentials) string {
	return fmt.Sprintf(`TOKEN=$(curl -sS %s/auth -d app_key=%s -d app_secret=%s | sed 's/.*"token":"\([^"]*\)".*/\1/')`, base, own.key, own.secret)
}

// defaultData is the directory that make takes where DATA is not given.
const defaultData = "var"

// setData is the variable in front of make with which it finds the system and its client.
func setData(dir string) string {
	if usual, err := filepath.Abs(defaultData); err == nil && dir == usual {
		return ""
	}
	return "DATA='" + dir + "' "
}

// curlLines are commands for any POSIX shell, to be given one after the other.
// The third looks the tag's id up, so that the lines need no editing.
func curlLines(base string, own credentials, tag string) []string {
	const (
		curl = `curl -sS -w '\n' `
		show = `-H "Authorization: Bearer $TOKEN" `
	)
	return []string{
		curlToken(base, own),
		fmt.Sprintf(curl+show+`%s/api/v1/tags -d name=%s`, base, tag),
		fmt.Sprintf(curl+show+`%[1]s/api/v1/articles -d title=Hello -d content='Written with curl.' `+
			`-d tag_id="$(curl -sS '%[1]s/api/v1/tags?name=%[2]s' | sed 's/.*"id":\([0-9]*\).*/\1/')"`, base, tag),
		fmt.Sprintf(curl+`'%s/api/v1/articles?page_size=3'`, base),
	}
}

// unusedName returns a tag name that no tag has yet, which can be created.
func unusedName(ctx context.Context, client *api) string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	name := "hello"
	for n := 2; n < 100; n++ {
		if _, found, err := client.findTag(ctx, name); err != nil || !found {
			return name
		}
		name = fmt.Sprintf("hello-%d", n)
	}
	return fmt.Sprintf("hello-%d", time.Now().Unix())
}
