package frontmatter

import (
	"errors"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// reader reads the fields of a post.
type reader struct {
	fields fields
	zone   *time.Location
}

func (r *reader) read(post *Post) error {
	var errs [13]error
	post.Title, errs[0] = r.text("title")
	post.Slug, errs[1] = r.text("slug")
	post.PathSlug = r.pathSlug()
	post.Description, errs[2] = r.text("description", "desc", "summary", "excerpt")
	post.Cover = r.cover()
	if post.CoverURL, errs[12] = r.text("cover_image_url"); post.CoverURL == post.Cover {
		post.CoverURL = ""
	}
	post.Date, errs[3] = r.time("date")
	post.Updated, errs[4] = r.time("lastmod", "updated", "updated_at", "last_modified_at", "modified")
	post.Publish, errs[5] = r.time("publishdate", "publish_date", "pubdate", "published_at", "publish_at")
	var draft, published bool
	draft, errs[6] = r.bool("draft", false)
	published, errs[7] = r.published(post)
	post.Draft = draft || !published
	post.Tags, errs[8] = r.tags("tags", "tag", "categories", "category")
	post.HiddenTags, errs[9] = r.tags("hidden_tags")
	post.Tags = merged(post.Tags, post.HiddenTags)
	errs[10] = r.status(post)
	post.Created, errs[11] = r.time("created", "created_at")
	if post.Date.IsZero() {
		post.Date = post.Created
	}
	return first(errs[:])
}

// first returns the error of the first line.
func first(errs []error) (of error) {
	lowest := 0
	for _, err := range errs {
		var coded *Error
		if errors.As(err, &coded) && (of == nil || coded.Line < lowest) {
			of, lowest = err, coded.Line
		}
	}
	return of
}

// get returns the first field with one of the names that has a value. Hugo has fields of its
// users below params.
func (r *reader) get(names ...string) (name string, v value, found bool) {
	for _, all := range []fields{r.fields, r.fields["params"].fields} {
		for _, name := range names {
			if v := all[name]; v.kind != null && (v.kind != scalar || v.text != "") {
				return name, v, true
			}
		}
	}
	return "", value{}, false
}

// text returns the text of the first field with one of the names.
func (r *reader) text(names ...string) (string, error) {
	name, v, found := r.get(names...)
	if found && v.kind != scalar {
		return "", wrong(v.line, "%s must be a text", name)
	}
	return v.text, nil
}

func (r *reader) time(names ...string) (time.Time, error) {
	name, v, found := r.get(names...)
	if !found || v.kind == scalar && strings.TrimSpace(v.text) == "" {
		return time.Time{}, nil
	}
	return r.timeOf(name, v)
}

func (r *reader) timeOf(name string, v value) (time.Time, error) {
	if v.kind != scalar {
		return time.Time{}, wrong(v.line, "%s must be a time such as 2026-01-02 15:04:05 +0800", name)
	}
	at, problem := ParseTime(v.text, r.zone)
	if problem != "" {
		return time.Time{}, wrong(v.line, "%s: %q %s", name, v.text, problem)
	}
	return at, nil
}

func (r *reader) bool(name string, otherwise bool) (bool, error) {
	_, v, found := r.get(name)
	if !found || v.kind == scalar && strings.TrimSpace(v.text) == "" {
		return otherwise, nil
	}
	if is, ok := parseBool(v); ok {
		return is, nil
	}
	return false, wrong(v.line, "%s must be true or false", name)
}

func parseBool(v value) (is, ok bool) {
	switch strings.ToLower(strings.TrimSpace(v.text)) {
	case "true", "yes", "on", "1":
		return true, v.kind == scalar
	case "false", "no", "off", "0":
		return false, v.kind == scalar
	}
	return false, false
}

// published reports whether the post is published: the field is true, or a time, which is the
// date if there is none.
func (r *reader) published(post *Post) (bool, error) {
	_, v, found := r.get("published")
	if !found {
		return true, nil
	}
	if is, ok := parseBool(v); ok {
		return is, nil
	}
	at, err := r.timeOf("published", v)
	if err != nil {
		return false, wrong(v.line, "published must be true or false, or a time")
	}
	if post.Date.IsZero() {
		post.Date = at
	}
	return true, nil
}

// status makes the post a draft if its status says so.
func (r *reader) status(post *Post) error {
	text, err := r.text("status")
	switch strings.ToLower(text) {
	case "draft", "private", "pending":
		post.Draft = true
	}
	return err
}

// pathSlug returns the last part of the path in a permalink.
func (r *reader) pathSlug() string {
	_, v, _ := r.get("permalink", "url")
	address, err := url.Parse(strings.TrimSpace(v.text))
	if err != nil || strings.ContainsAny(v.text, ":{") && address.Host == "" {
		return "" // a pattern such as /:year/:title/
	}
	clean := path.Clean("/" + address.Path)
	if base := path.Base(clean); base == "index.html" || base == "index.htm" {
		clean = path.Dir(clean)
	}
	base := path.Base(clean)
	return strings.Trim(strings.TrimSuffix(base, path.Ext(base)), "/")
}

// cover returns the address or the path of an image.
func (r *reader) cover() string {
	for _, name := range []string{"cover", "cover_image", "cover_image_url", "image", "featured_image", "featuredimage", "thumbnail", "banner", "images", "header"} {
		if _, v, found := r.get(name); found {
			if text := v.image(); text != "" {
				return text
			}
		}
	}
	return ""
}

// image returns the address of an image in a value: a text, the first of a list, or a part of a
// table.
func (v value) image() string {
	switch v.kind {
	case scalar:
		if _, isBool := parseBool(v); !isBool {
			return strings.TrimSpace(v.text)
		}
	case list:
		if len(v.list) > 0 {
			return v.list[0].image()
		}
	case table:
		for _, name := range []string{"image", "url", "src", "path", "feature", "teaser", "overlay_image"} {
			if part := v.fields[name]; part.kind == scalar {
				return part.image()
			}
		}
	}
	return ""
}

// tags returns the texts of all fields with the names.
func (r *reader) tags(names ...string) (all []string, err error) {
	for _, name := range names {
		_, v, found := r.get(name)
		if !found {
			continue
		}
		var own []string
		switch {
		case v.kind == list:
			if own, err = flat(name, v); err != nil {
				return nil, err
			}
		case v.kind == scalar && (name == "tag" || name == "category"):
			own = []string{v.text}
		case v.kind == scalar && strings.ContainsAny(v.text, ",，、"):
			own = strings.FieldsFunc(v.text, func(r rune) bool { return strings.ContainsRune(",，、", r) })
		case v.kind == scalar:
			own = strings.Fields(v.text)
		default:
			return nil, wrong(v.line, "%s must be a list such as [one, two], or a text", name)
		}
		all = merged(all, own)
	}
	return all, nil
}

// flat returns the texts of a list and of those in it: Hexo nests categories.
func flat(name string, v value) (all []string, err error) {
	for _, one := range v.list {
		switch one.kind {
		case scalar:
			all = append(all, one.text)
		case list:
			inner, err := flat(name, one)
			if err != nil {
				return nil, err
			}
			all = append(all, inner...)
		case table:
			return nil, wrong(v.line, "%s must be a list of texts: put those that have a colon in them into quotation marks", name)
		}
	}
	return all, nil
}

// merged returns the texts of both without blanks around them, empty ones and duplicates.
func merged(all, more []string) []string {
	for _, text := range more {
		if text = strings.TrimSpace(text); text != "" && !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return all
}
