package bootstrap

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/issuer"
)

// checkCommand returns the command that tests running services as a client.
func checkCommand(bind command.Bind[Config]) *cobra.Command {
	c := check{client: &http.Client{Timeout: 20 * time.Second}}
	cmd := &cobra.Command{
		Use: "check", Short: "Create, read and delete a tag, an article and a file through the running services", Args: command.Arguments(""),
		Long: "Create, read and delete a tag, an article and, if the article service has a storage of files, a file through\n" +
			"the running services. The key set of the services (Auth.KeysFile) signs the token for the writes.",
	}
	cmd.Flags().StringVar(&c.tags, "tags", "http://127.0.0.1:8081", "base `URL` of the tag service or of a proxy in front of it")
	cmd.Flags().StringVar(&c.articles, "articles", "http://127.0.0.1:8082", "base `URL` of the article service or of a proxy in front of it")
	cmd.Flags().StringSliceVar(&c.ready, "ready", nil, "URLs that must answer 200 before the check, such as http://comment/readyz")
	cmd.Flags().DurationVar(&c.wait, "wait", time.Minute, "how long to wait until both services answer")
	return bind(cmd, func(config Config, _ []string) (err error) {
		if c.token, err = issuer.Sign(config.Auth, "check", []string{auth.ScopeWrite}); err != nil {
			return err
		}
		c.out = cmd.OutOrStdout()
		c.run()
		return c.err
	})
}

type check struct {
	tags, articles string
	ready          []string
	token          string
	wait           time.Duration
	client         *http.Client
	out            io.Writer
	err            error // the first failure; afterwards only the cleanup runs
}

// answer is the part of a response that the check reads.
type answer struct {
	Data thing
	List []thing
}

// thing is a tag, an article or an upload.
type thing struct {
	ID          uint64
	Name, Title string
	Tags        []thing
	Files       []struct {
		ID uint64 `json:"file_id"`
	}
}

// statusError is a response with another status than was wanted.
type statusError struct {
	got, want int
	text      []byte
}

func (e *statusError) Error() string {
	return fmt.Sprintf("status is %d, want %d: %.300s", e.got, e.want, e.text)
}

func (c *check) run() {
	tags, articles := c.tags+"/api/v1/tags", c.articles+"/api/v1/articles"
	for _, url := range append(c.ready, tags, articles) {
		c.await(url)
	}
	mark := fmt.Sprintf("check %d", time.Now().UnixNano())

	tag := c.step(http.MethodPost, tags, fmt.Sprintf(`{"name": %q}`, mark), http.StatusCreated).Data
	tagURL := fmt.Sprintf("%s/%d", tags, tag.ID)
	defer c.remove(tag.ID, tagURL, tagURL)
	body := fmt.Sprintf(`{"title": %q, "content": "created by article check", "tag_ids": [%d]}`, mark, tag.ID)
	article := c.step(http.MethodPost, articles, body, http.StatusCreated).Data
	articleURL := fmt.Sprintf("%s/%d", articles, article.ID)
	defer c.remove(article.ID, articleURL, articleURL)

	got := c.step(http.MethodGet, tagURL, "", http.StatusOK).Data
	c.expect(got.Name == mark, "the tag is %+v, want the name %q", got, mark)
	got = c.step(http.MethodGet, articleURL, "", http.StatusOK).Data
	c.expect(got.Title == mark && len(got.Tags) == 1 && got.Tags[0].Name == mark,
		"the article is %+v, want the title %q and the tag with the same name", got, mark)
	list := c.step(http.MethodGet, fmt.Sprintf("%s?tag_id=%d", articles, tag.ID), "", http.StatusOK).List
	c.expect(len(list) == 1 && list[0].ID == article.ID, "the articles of the new tag are %+v, want only the new article", list)
	c.file(mark)
}

// file creates, reads and deletes a file with a text, unless the service has no storage of
// files.
func (c *check) file(text string) {
	if c.err != nil {
		return
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", "check.txt")
	if err == nil {
		_, err = part.Write([]byte(text))
	}
	if err = errors.Join(err, form.Close()); err != nil {
		c.err = err
		return
	}
	files := c.articles + "/api/v1/file"
	got, err := c.sendAs(form.FormDataContentType(), http.MethodPost, files+"/upload", body.String(), http.StatusCreated)
	var answered *statusError
	if errors.As(err, &answered) && answered.got == http.StatusNotImplemented {
		_, _ = fmt.Fprintln(c.out, "The article service has no storage of files (Files.URL).")
		return
	}
	const hint = "check that the storage of files (Files.URL) exists and is reachable, and that the article service may read, write and delete there"
	if err != nil || len(got.Data.Files) != 1 {
		c.err = fmt.Errorf("no file was stored: %w; %s", cmp.Or(err, errors.New("the response has no file")), hint)
		return
	}
	id := got.Data.Files[0].ID
	download := fmt.Sprintf("%s/download/%d", files, id)
	defer c.remove(id, fmt.Sprintf("%s/%d", files, id), download)
	content, err := c.fetch("", http.MethodGet, download, "", http.StatusOK)
	c.expect(err == nil, "the file can't be read: %w; %s", err, hint)
	c.expect(string(content) == text, "the file is %q, want %q", content, text)
}

func (c *check) expect(ok bool, format string, args ...any) {
	if !ok && c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// await polls url until it answers 200: after an installation pods take time to
// become ready.
func (c *check) await(url string) {
	until := time.Now().Add(c.wait)
	for c.err == nil {
		_, err := c.send(http.MethodGet, url, "", http.StatusOK)
		if err == nil {
			return
		}
		c.expect(time.Now().Before(until), "%w", err)
		time.Sleep(500 * time.Millisecond)
	}
}

// remove deletes an object of the check, even after a failure, and sees that it can't be read
// any more. An id of 0 is that of an object which was not created.
func (c *check) remove(id uint64, url, readURL string) {
	if id == 0 {
		return
	}
	_, err := c.send(http.MethodDelete, url, "", http.StatusOK)
	if err == nil {
		_, err = c.send(http.MethodGet, readURL, "", http.StatusNotFound)
	}
	c.err = errors.Join(c.err, err)
}

// step sends a request unless an earlier one failed.
func (c *check) step(method, url, body string, want int) answer {
	if c.err != nil {
		return answer{}
	}
	got, err := c.send(method, url, body, want)
	c.expect(err == nil, "%w", err)
	return got
}

func (c *check) send(method, url, body string, want int) (answer, error) {
	return c.sendAs("application/json", method, url, body, want)
}

// sendAs is like send, with a body of another media type.
func (c *check) sendAs(contentType, method, url, body string, want int) (got answer, err error) {
	text, err := c.fetch(contentType, method, url, body, want)
	if err != nil {
		return got, err
	}
	if err := json.Unmarshal(text, &got); err != nil {
		return got, fmt.Errorf("%s %s: %w", method, url, err)
	}
	return got, nil
}

// fetch sends a request and returns the body of the response.
func (c *check) fetch(contentType, method, url, body string, want int) ([]byte, error) {
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	request.Header.Set("locale", "en")
	request.Header.Set("Authorization", "Bearer "+c.token)
	response, err := c.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%w; check the address, the pods and the network policies", err)
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = fmt.Fprintf(c.out, "%-6s %s: %s\n", method, url, response.Status)
	text, err := io.ReadAll(io.LimitReader(response.Body, 8<<20))
	if err == nil && response.StatusCode != want {
		err = &statusError{response.StatusCode, want, text}
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, url, err)
	}
	return text, nil
}
