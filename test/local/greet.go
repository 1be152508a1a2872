package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// greet tells the person where everything is and what to try.
func (s *system) greet(ctx context.Context) {
	s.say(`Achilles is ready on %[1]s

  API        %[1]s/api/v1/tags
             %[1]s/api/v1/articles
  Swagger UI %[1]s/swagger/tag/
             %[1]s/swagger/article/
  Metrics    %[2]s/metrics (tag)
             %[3]s/metrics (article)
  Data       %[4]s (logs in log/)

Try, in another terminal: create a tag, an article with that tag, list the articles.

`, s.base, s.tag.admin, s.article.admin, s.data.dir)
	for _, line := range curlLines(s.base, s.unusedName(ctx)) {
		s.say("  %s\n", line)
	}
	s.say("\n%smake demo fills it with 1,000 articles. Ctrl-C stops it.\n", setPort(s.base))
}

// defaultPort is the one that make takes.
const defaultPort = "8080"

// setPort is what goes in front of make for it to find the system.
func setPort(base string) string {
	if port := base[strings.LastIndexByte(base, ':')+1:]; port != defaultPort {
		return "PORT=" + port + " "
	}
	return ""
}

// curlLines are commands for any POSIX shell. The second looks the tag's id up,
// so that the lines need no editing.
func curlLines(base, tag string) []string {
	const curl = `curl -sS -w '\n' `
	return []string{
		fmt.Sprintf(curl+`%s/api/v1/tags -d name=%s`, base, tag),
		fmt.Sprintf(curl+`%[1]s/api/v1/articles -d title=Hello -d content='Written with curl.' `+
			`-d tag_id="$(curl -sS '%[1]s/api/v1/tags?name=%[2]s' | sed 's/.*"id":\([0-9]*\).*/\1/')"`, base, tag),
		fmt.Sprintf(curl+`'%s/api/v1/articles?page_size=3'`, base),
	}
}

// unusedName returns a tag name that no tag has yet: a conflict is no welcome.
func (s *system) unusedName(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	client := newAPI(s.base)
	name := "hello"
	for n := 2; n < 100; n++ {
		if _, found, err := client.findTag(ctx, name); err != nil || !found {
			return name
		}
		name = fmt.Sprintf("hello-%d", n)
	}
	return fmt.Sprintf("hello-%d", time.Now().Unix())
}
