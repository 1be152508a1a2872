package importer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/frontmatter"
	"github.com/achilles-blog/achilles/services/article/internal/slug"
)

// draft returns the article of a post without its tags. All of its fields are set, so that an
// import changes what the file has changed.
func (r *run) draft(file string, parsed frontmatter.Post, result *Result) article.Import {
	_, base, _ := dated(baseOf(file))
	title := parsed.Title
	if strings.TrimSpace(title) == "" {
		if title = heading(parsed.Content); title == "" {
			title = strings.TrimSpace(strings.NewReplacer("-", " ", "_", " ").Replace(base))
		}
	}
	state := article.Enabled
	if parsed.Draft || inDrafts(file) {
		state = article.Disabled
	}
	published := publication(parsed)
	if state == article.Enabled && published.After(time.Now()) {
		result.Notes = append(result.Notes, "it is published at "+published.Format(time.RFC3339))
	}
	created := parsed.Created
	if created.IsZero() {
		created = parsed.Date
	}
	if created.IsZero() {
		created = published
	}
	if tag := template.FindString(parsed.Content); tag != "" {
		result.Notes = append(result.Notes, fmt.Sprintf("tags of templates such as %s stay in the text as they are", tag))
	}
	cover := parsed.Cover
	if !isURL(cover) {
		cover = parsed.CoverURL
	}
	return article.Import{
		Source: r.source(file), CreatedAt: created, UpdatedAt: parsed.Updated, Force: r.Force,
		Draft: article.Draft{
			Title: &title, Slug: slugOf(parsed, base, result), Desc: &parsed.Description, CoverImageURL: &cover, CoverFileID: new(uint64(0)),
			Content: &parsed.Content, State: &state, PublishedAt: &published, Actor: r.Actor,
		},
	}
}

// publication returns the time at which a post is published, the zero time if it has none.
func publication(parsed frontmatter.Post) time.Time {
	at := parsed.Date
	if !parsed.Publish.IsZero() {
		at = parsed.Publish
	}
	return at.Truncate(time.Millisecond)
}

// template matches the beginning of a tag of a template.
var template = regexp.MustCompile(`\{\{[<%]\s*\w+|\{%-?\s*\w+`)

func isURL(text string) bool {
	return strings.HasPrefix(text, "https://") || strings.HasPrefix(text, "http://")
}

// inDrafts reports whether a file is in a folder of drafts.
func inDrafts(file string) bool {
	return slices.Contains(strings.Split(file, "/"), "_drafts")
}

var validSlug = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// slugOf returns the slug of a post: the one that it gives, the end of its permalink, or its name.
// It is nil if these have no letters.
func slugOf(parsed frontmatter.Post, base string, result *Result) *string {
	for _, name := range []string{parsed.Slug, parsed.PathSlug, base} {
		made := name
		if !validSlug.MatchString(name) || len(name) > slug.MaxLength {
			made = slug.Make(name)
		}
		if made == "" {
			continue
		}
		if name == parsed.Slug && made != name {
			result.Notes = append(result.Notes, fmt.Sprintf("the slug %q becomes %q", name, made))
		}
		return &made
	}
	return nil
}

// heading returns the text of the first heading of the highest level.
func heading(content string) string {
	fence := ""
	for line := range strings.Lines(content) {
		line = strings.TrimRight(line, " \t\r\n")
		start := strings.TrimLeft(line, " ")
		switch {
		case fence != "":
			if strings.HasPrefix(start, fence) {
				fence = ""
			}
		case strings.HasPrefix(start, "```"), strings.HasPrefix(start, "~~~"):
			fence = start[:3]
		case strings.HasPrefix(start, "# "):
			return strings.TrimSpace(strings.TrimRight(start[2:], "#"))
		}
	}
	return ""
}

// tag is a tag as far as it is known.
type tag struct {
	id      uint64
	problem string // why it is left out
}

// missingTag is a tag that doesn't exist, and can be created.
type missingTag struct {
	name   string
	hidden bool
}

// findTags sets the tags of a draft that exist, without duplicates, and returns those that are missing.
func (r *run) findTags(ctx context.Context, file *article.Import, parsed frontmatter.Post, result *Result) (missing []missingTag, err error) {
	ids := []uint64{}
	for _, name := range parsed.Tags {
		one := missingTag{norm.NFC.String(name), slices.Contains(parsed.HiddenTags, name)}
		found, err := r.tag(one.name, func() (id uint64, err error) {
			if id, err = r.Tags.Find(ctx, one.name); err == nil && id == 0 {
				err = r.Tags.Check(one.name)
			}
			return id, err
		})
		switch {
		case err != nil:
			return nil, err
		case found.problem != "":
			result.leaveOut(one, found)
		case found.id == 0 && slices.ContainsFunc(missing, func(other missingTag) bool { return other.name == one.name }):
		case found.id == 0:
			missing = append(missing, one)
		case !slices.Contains(ids, found.id):
			ids = append(ids, found.id)
		}
	}
	slices.Sort(ids)
	file.Draft.TagIDs = &ids
	return missing, nil
}

// createTags creates missing tags, and adds them to a draft.
func (r *run) createTags(ctx context.Context, file *article.Import, missing []missingTag, result *Result) error {
	ids := slices.Clone(*file.Draft.TagIDs)
	for _, one := range missing {
		found, err := r.tag(one.name, func() (uint64, error) { return r.Tags.Create(ctx, one.name, one.hidden) })
		switch {
		case err != nil:
			return err
		case found.problem != "":
			result.leaveOut(one, found)
		case !slices.Contains(ids, found.id):
			ids = append(ids, found.id)
		}
	}
	slices.Sort(ids)
	file.Draft.TagIDs = &ids
	return nil
}

func (r *Result) leaveOut(one missingTag, found tag) {
	r.LeftOut = append(r.LeftOut, fmt.Sprintf("tag %q: %s", one.name, found.problem))
}

// tag returns the tag with a name, from find unless it is known. It has no id if it doesn't exist yet.
func (r *run) tag(name string, find func() (uint64, error)) (found tag, err error) {
	if known := r.tags[name]; known != (tag{}) {
		return known, nil
	}
	found.id, err = find()
	if errors.Is(err, ErrNoTag) {
		found.problem, err = strings.TrimSuffix(err.Error(), ": "+ErrNoTag.Error()), nil
	}
	if err == nil {
		r.tags[name] = found
	}
	return found, err
}

// digest returns a text that identifies what is imported. With missing tags, it is another one than
// any that was imported.
func digest(file article.Import, cover string, assets []asset, missing []missingTag) string {
	d := file.Draft
	all := []any{d.Title, d.Slug, d.Desc, d.CoverImageURL, d.Content, d.State, d.PublishedAt, d.TagIDs, file.CreatedAt, file.UpdatedAt, cover, assets}
	if len(missing) > 0 {
		all = append(all, len(missing))
	}
	encoded, _ := json.Marshal(all) // texts and numbers always have a JSON form
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}
