package bootstrap

import (
	"errors"
	"net/url"
	"regexp"
	"strings"

	"golang.org/x/text/language"

	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/services/article/internal/api"
	"github.com/achilles-blog/achilles/services/article/internal/webfeed"
)

// SiteConfig is the section Site, the site that shows the articles. Feeds for readers
// (RSS, Atom, JSON Feed) name it.
type SiteConfig struct {
	Title       string `mapstructure:"Title" usage:"title of the site" validate:"required,max=200" allowed:"1 to 200 characters"`
	Description string `mapstructure:"Description" usage:"description of the site; empty: none" validate:"max=1000" allowed:"at most 1000 characters"`
	Language    string `mapstructure:"Language" usage:"language of the articles, such as zh-CN or en"`
	URL         string `mapstructure:"URL" usage:"address of the home page, such as https://blog.example/; empty: the list of articles in the API. Its host is in the ids of entries: if it changes, feed readers show all entries as new"`
	ArticleURL  string `mapstructure:"ArticleURL" usage:"address of an article on the site, with {slug} or {id}, such as https://blog.example/posts/{slug}; empty: its address in the API"`
	FeedSize    int    `mapstructure:"FeedSize" usage:"number of articles in a feed" validate:"min=1,max=100" allowed:"1 to 100"`
}

// Validate reports addresses and a language that are none.
func (c SiteConfig) Validate() error {
	var errs []error
	if tag, err := language.Parse(c.Language); err != nil || tag == language.Und {
		errs = append(errs, settings.Invalid("Language", c.Language, "a language tag such as zh-CN or en (BCP 47)"))
	}
	if c.URL != "" && !validAddress(c.URL) {
		errs = append(errs, settings.Invalid("URL", c.URL, "an http or https URL such as https://blog.example/"))
	}
	if c.ArticleURL != "" && !validPattern(c.ArticleURL) {
		errs = append(errs, settings.Invalid("ArticleURL", c.ArticleURL, "an http or https URL with {slug} or {id}, such as https://blog.example/posts/{slug}"))
	}
	return errors.Join(errs...)
}

func validAddress(text string) bool {
	parsed, err := url.Parse(text)
	return err == nil && (parsed.Scheme == "http" || parsed.Scheme == "https") && parsed.Hostname() != "" && parsed.User == nil
}

var placeholder = regexp.MustCompile(`\{(slug|id)\}`)

// validPattern requires an address with placeholders, in what follows the host.
func validPattern(text string) bool {
	filled := placeholder.ReplaceAllString(text, "7")
	address, err := url.Parse(filled)
	return err == nil && filled != text && !strings.ContainsAny(filled, "{}") && validAddress(filled) &&
		strings.HasPrefix(text, address.Scheme+"://"+address.Host)
}

func (c SiteConfig) webFeeds() api.WebFeeds {
	return api.WebFeeds{Size: c.FeedSize, Site: webfeed.Site{
		Title: c.Title, Description: c.Description, Language: c.Language, URL: c.URL, ArticleURL: c.ArticleURL,
	}}
}
