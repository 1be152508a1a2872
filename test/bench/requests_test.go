package bench_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"github.com/achilles-blog/achilles/test/bench/corpus"
	"github.com/achilles-blog/achilles/test/bench/load"
	"github.com/achilles-blog/achilles/test/process"
)

// exchange is a load.Exchange of functions.
type exchange struct {
	next  func(to []byte) []byte
	check func(response *fasthttp.Response) error
}

func (e exchange) Append(to []byte) []byte                 { return e.next(to) }
func (e exchange) Check(response *fasthttp.Response) error { return e.check(response) }

// appendGet appends a GET with lines, which end with \r\n, as additional header.
func appendGet(to []byte, path, lines string) []byte {
	to = append(to, "GET "...)
	to = append(to, path...)
	to = append(to, " HTTP/1.1\r\nHost: bench\r\n"...)
	to = append(to, lines...)
	return append(to, "\r\n"...)
}

const articlesPath = "/api/v1/articles"

func articlePath(id uint64) string { return articlesPath + "/" + strconv.FormatUint(id, 10) }

// ids draws the ids of articles.
type ids func() uint64

func randomIDs(articles int) ids {
	return func() uint64 { return 1 + rand.Uint64N(uint64(articles)) } // #nosec G404,G115 -- no secret; positive
}

// zipfIDs draws by Zipf's law, the popular ones from everywhere.
func zipfIDs(articles int) ids {
	n := uint64(articles)                                                      // #nosec G115 -- positive
	zipf := rand.NewZipf(rand.New(rand.NewPCG(rand.Uint64(), 1)), 1.1, 1, n-1) // #nosec G404 -- no secret
	const prime = 2654435761
	return func() uint64 { return 1 + zipf.Uint64()*prime%n }
}

// getArticle reads articles and compares each with what check expects of its id.
func getArticle(draw ids, check func(body []byte, id uint64) error) load.Exchange {
	var id uint64
	return exchange{
		func(to []byte) []byte {
			id = draw()
			return appendGet(to, articlePath(id), "")
		},
		func(response *fasthttp.Response) error {
			if response.StatusCode() != http.StatusOK {
				return load.Status(response.StatusCode())
			}
			return check(response.Body(), id)
		},
	}
}

// sameBytes is a check of responses that are always body.
func sameBytes(body []byte) func([]byte, uint64) error {
	return func(got []byte, _ uint64) error {
		if !bytes.Equal(got, body) {
			return fmt.Errorf("got %.100q", got)
		}
		return nil
	}
}

// notModified reads articles with their entity tags, which are those of the ids 1 to
// len(tags).
func notModified(tags []string) load.Exchange {
	var id uint64
	draw := randomIDs(len(tags))
	return exchange{
		func(to []byte) []byte {
			id = draw()
			return appendGet(to, articlePath(id), "If-None-Match: "+tags[id-1]+"\r\n")
		},
		func(response *fasthttp.Response) error {
			if response.StatusCode() != http.StatusNotModified {
				return load.Status(response.StatusCode())
			}
			if got := string(response.Header.Peek("ETag")); got != tags[id-1] || len(response.Body()) > 0 {
				return fmt.Errorf("304 of article %d has the ETag %s, want %s, and a body of %d bytes", id, got, tags[id-1], len(response.Body()))
			}
			return nil
		},
	}
}

// connect returns a function that reads from the service on one connection.
func connect(t *testing.T, addr string) func(path string) process.Answer {
	t.Helper()
	conn, err := process.Dial(addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	conn.Header = nil
	return func(path string) process.Answer {
		t.Helper()
		answer, err := conn.Ask("GET", path, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, answer.Status, path)
		return answer
	}
}

// entityTagsAndSlugs returns those of the articles 1 to n.
func entityTagsAndSlugs(t *testing.T, get func(path string) process.Answer, n int) (tags, slugs []string) {
	t.Helper()
	for id := range n {
		answer := get(articlePath(uint64(id + 1))) // #nosec G115 -- positive
		var article struct{ Data struct{ Slug string } }
		require.NoError(t, json.Unmarshal(answer.Body, &article))
		require.NotEmpty(t, article.Data.Slug)
		require.NotEmpty(t, answer.Header.Get("ETag"))
		tags, slugs = append(tags, answer.Header.Get("ETag")), append(slugs, article.Data.Slug)
	}
	return tags, slugs
}

// getSlug reads the articles 1 to len(slugs) by their slugs.
func getSlug(slugs []string) load.Exchange {
	var id uint64
	draw := randomIDs(len(slugs))
	return exchange{
		func(to []byte) []byte {
			id = draw()
			return appendGet(to, articlesPath+"/slug/"+slugs[id-1], "")
		},
		func(response *fasthttp.Response) error {
			if response.StatusCode() != http.StatusOK {
				return load.Status(response.StatusCode())
			}
			return corpus.CheckArticle(response.Body(), id)
		},
	}
}

// getRSS reads the RSS feed, which has 20 articles.
func getRSS() load.Exchange {
	return exchange{
		func(to []byte) []byte { return appendGet(to, articlesPath+"/feed.rss", "") },
		func(response *fasthttp.Response) error {
			if response.StatusCode() != http.StatusOK {
				return load.Status(response.StatusCode())
			}
			if n := bytes.Count(response.Body(), []byte("<item>")); n != 20 {
				return fmt.Errorf("the feed has %d articles", n)
			}
			return nil
		},
	}
}

// getSame reads what is always the same.
func getSame(path string, body []byte) load.Exchange {
	return exchange{
		func(to []byte) []byte { return appendGet(to, path, "") },
		func(response *fasthttp.Response) error {
			if response.StatusCode() != http.StatusOK {
				return load.Status(response.StatusCode())
			}
			return sameBytes(body)(response.Body(), 0)
		},
	}
}

// getList reads one page.
func getList(query string, want corpus.List) load.Exchange {
	return exchange{
		func(to []byte) []byte { return appendGet(to, articlesPath+"?"+query, "") },
		func(response *fasthttp.Response) error {
			if response.StatusCode() != http.StatusOK {
				return load.Status(response.StatusCode())
			}
			return want.Check(response.Body())
		},
	}
}

// postArticle creates articles like random ones. With key it sends an Idempotency-Key.
func postArticle(articles int, key bool) load.Exchange {
	var id uint64
	var body []byte
	draw, name, n := randomIDs(articles), rand.Uint64(), 0 // #nosec G404 -- no secret
	head := "POST /api/v1/articles HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nAuthorization: Bearer " + process.Token() + "\r\n"
	return exchange{
		func(to []byte) []byte {
			id = draw()
			body = corpus.AppendRequest(body[:0], id)
			to = append(to, head...)
			if key {
				n++
				to = fmt.Appendf(to, "Idempotency-Key: bench-%x-%d\r\n", name, n)
			}
			to = fmt.Appendf(to, "Content-Length: %d\r\n\r\n", len(body))
			return append(to, body...)
		},
		func(response *fasthttp.Response) error {
			if response.StatusCode() != http.StatusCreated {
				return load.Status(response.StatusCode())
			}
			return corpus.CheckCreated(response.Body(), id)
		},
	}
}

// mixed sends 19 requests of most for each of rare.
func mixed(most, rare load.Exchange) load.Exchange {
	var current load.Exchange
	return exchange{
		func(to []byte) []byte {
			if current = most; rand.N(20) == 0 { // #nosec G404 -- no secret
				current = rare
			}
			return current.Append(to)
		},
		func(response *fasthttp.Response) error { return current.Check(response) },
	}
}
