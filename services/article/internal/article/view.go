package article

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/achilles-blog/achilles/pkg/coalesce"
)

// A Shared is an article as it was read for all who asked for it at the same time.
type Shared struct {
	all *View
	// public is all if no tag is disabled.
	public *View
}

// NewShared returns an article that was read. If contentOmitted, it lacks its content.
func NewShared(a Article, contentOmitted bool) *Shared {
	s := &Shared{all: &View{Article: a, ContentOmitted: contentOmitted}}
	s.public = s.all
	if public, _ := a.visible(Anonymous); len(public.Tags) < len(a.Tags) {
		s.public = &View{Article: public, ContentOmitted: contentOmitted}
	}
	return s
}

// View returns the article as the viewer sees it; ok is false if the viewer doesn't see
// it at all.
func (s *Shared) View(viewer Viewer) (view *View, ok bool) {
	if viewer == Authenticated {
		return s.all, true
	}
	return s.public, s.public.State == Enabled
}

// A View is an article as it is seen by the viewers who read it at the same time. They
// share it, so it must not be modified.
type View struct {
	Article
	// ContentOmitted says that the content was not read; see Contents.
	ContentOmitted bool
	// Encodings has the responses that are made from it.
	Encodings coalesce.Memo[string, []byte]

	once    sync.Once
	version string
}

// Version is that of the article.
func (v *View) Version() string {
	v.once.Do(func() { v.version = v.Article.Version() })
	return v.version
}

// A SharedList is a page of articles as it was read for all who asked for it at the same
// time.
type SharedList struct {
	all *List
	// public is all if no tag is disabled.
	public *List
}

// NewSharedList returns a page that was read.
func NewSharedList(articles []Article, total Total) *SharedList {
	s := &SharedList{all: &List{Articles: articles, Total: total}}
	s.public = s.all
	hidden := func(t Tag) bool { return t.State != Enabled }
	if slices.ContainsFunc(articles, func(a Article) bool { return slices.ContainsFunc(a.Tags, hidden) }) {
		public := make([]Article, 0, len(articles))
		for _, a := range articles {
			seen, _ := a.visible(Anonymous)
			public = append(public, seen)
		}
		s.public = &List{Articles: public, Total: total}
	}
	return s
}

// UnchangedUntil sets the time at which the page may change without a write, and returns the
// page.
func (s *SharedList) UnchangedUntil(t time.Time) *SharedList {
	s.all.Until, s.public.Until = t, t
	return s
}

// WithNext sets the position behind which the list goes on, and returns the page. Without
// it, the page ends the list.
func (s *SharedList) WithNext(next Position) *SharedList {
	s.all.Next, s.public.Next = &next, &next
	return s
}

// View returns the page as the viewer sees it. Which articles are on it depends on the
// Filter.
func (s *SharedList) View(viewer Viewer) *List {
	if viewer == Authenticated {
		return s.all
	}
	return s.public
}

// A List is a page of articles without their content, as it is seen by the viewers who
// read it at the same time. They share it, so it must not be modified.
type List struct {
	Articles []Article
	Total    Total
	// Next is the position behind which the list goes on, nil if it ends here. A page that
	// has fewer articles than it could have may have a Next: reading went no further.
	Next *Position
	// Until is when an article is published that is scheduled, which may change the page. It is
	// the zero time if there is none, or the viewer sees such articles.
	Until time.Time
	// Encodings has the responses that are made from it.
	Encodings coalesce.Memo[string, []byte]
	// WebFeeds has the feeds that are made from it.
	WebFeeds coalesce.Memo[string, WebFeed]

	once    sync.Once
	version string
}

// A WebFeed is a list as a document for feed readers, with the address that it names.
type WebFeed struct {
	Address string
	Text    []byte
	Err     error
}

// Version identifies what clients see of the articles: their ids and versions.
func (l *List) Version() string {
	l.once.Do(func() {
		var versions []byte
		for _, a := range l.Articles {
			versions = append(strconv.AppendUint(versions, a.ID, 10), ' ')
			versions = append(append(versions, a.Version()...), '\n')
		}
		l.version = string(versions)
	})
	return l.version
}
