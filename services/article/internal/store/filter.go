package store

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// listKey is what a list depends on. Lists with equal keys share a query.
type listKey struct {
	anyTag, allTags idList
	tagName         string // "" for no condition
	tagEnabled      bool
	title           string // "" for all
	words           string // separated by spaces, "" for no condition
	state           article.State
	anyState        bool // state is no condition
	public          bool // see article.Filter.Public
	created,
	updated,
	published interval
	order         article.Order
	after         position
	offset, limit int
	scans         bool // see article.Filter.Scans

	// These are set when the list is read.
	now    string // a SQL expression of the time
	merged bool   // see mustMerge
}

func keyOf(filter article.Filter, page article.Page) listKey {
	key := listKey{
		anyTag: newIDList(filter.AnyTag), allTags: newIDList(filter.AllTags), tagEnabled: filter.TagEnabled,
		anyState: filter.State == nil, public: filter.Public, created: newInterval(filter.Created), updated: newInterval(filter.Updated), published: newInterval(filter.Published),
		order: page.Order, offset: page.Offset, limit: page.Limit,
	}
	if filter.Tag != nil {
		key.tagName = *filter.Tag
	}
	if filter.Title != nil {
		key.title = *filter.Title
	}
	key.words = strings.Join(filter.Words, " ")
	if filter.State != nil {
		key.state = *filter.State
	}
	if page.After != nil {
		key.after = newPosition(*page.After)
	}
	return key
}

// tagged reports whether there is a condition on tags.
func (key listKey) tagged() bool { return key.anyTag != "" || key.allTags != "" || key.tagName != "" }

// matches reports whether the conditions of the list hold for an article that is not
// deleted, except that on its title.
func (key listKey) matches(a article.Article) bool {
	return key.matchesState(a.State) && key.created.contains(a.CreatedAt) && key.updated.contains(a.UpdatedAt) &&
		key.published.contains(a.PublishedAt) && key.matchesTags(a.Tags)
}

func (key listKey) matchesState(state article.State) bool {
	return key.anyState || state == key.state || state == article.Scheduled && key.enabled() && !key.public
}

// states returns the states of the rows of the list.
func (key listKey) states() []article.State {
	switch {
	case key.anyState:
		return []article.State{article.Disabled, article.Enabled, article.Scheduled}
	case key.merged:
		return []article.State{article.Enabled, article.Scheduled}
	default:
		return []article.State{key.state}
	}
}

// hasState adds the condition that the rows of an index with the state, and the time of the
// publication, are of the list, as far as their state is concerned.
func (key listKey) hasState(stmt *statement, state string, published string) {
	switch {
	case key.anyState:
	case !key.merged:
		stmt.and(state+" = ?", key.state)
	case key.public:
		stmt.and("("+state+" = ? OR "+state+" = ? AND "+published+" <= "+key.now+")", article.Enabled, article.Scheduled)
	default:
		stmt.and(state+" IN (?, ?)", article.Enabled, article.Scheduled)
	}
}

func (key listKey) matchesTags(tags []article.Tag) bool {
	if !key.tagged() {
		return true
	}
	has := func(one func(article.Tag) bool) bool {
		return slices.ContainsFunc(tags, func(t article.Tag) bool { return (t.State == article.Enabled || !key.tagEnabled) && one(t) })
	}
	hasID := func(id uint64) bool { return has(func(t article.Tag) bool { return t.ID == id }) }
	return (key.anyTag == "" || slices.ContainsFunc(key.anyTag.ids(), hasID)) &&
		!slices.ContainsFunc(key.allTags.ids(), func(id uint64) bool { return !hasID(id) }) &&
		(key.tagName == "" || has(func(t article.Tag) bool { return t.Name == key.tagName }))
}

// filtered adds the conditions of a list on an article that is not deleted, except that on
// its title. articles is the alias of its table. The caller selects the conditions as a column:
// for conditions in a WHERE, a planner might begin with all articles of a tag.
func (s *Store) filtered(stmt *statement, key listKey, articles string) {
	key.hasState(stmt, articles+".state", articles+".published_at")
	key.created.conditions(stmt, articles+".created_at")
	key.updated.conditions(stmt, articles+".updated_at")
	key.published.conditions(stmt, articles+".published_at")
	own := " FROM " + s.db.Table("article_tag") + " AS own"
	if key.tagEnabled || key.tagName != "" {
		own += " JOIN " + s.db.Table("tag_projection") + " AS tag ON tag.id = own.tag_id"
	}
	own += " WHERE own.article_id = " + articles + ".id"
	var enabled []any
	if key.tagEnabled {
		own += " AND tag.state = ?"
		enabled = []any{article.Enabled}
	}
	and := func(condition string, values ...any) {
		stmt.and(condition, append(slices.Clone(enabled), values...)...)
	}
	if ids := key.anyTag.ids(); ids != nil {
		marks, values := database.In(ids)
		and("EXISTS (SELECT 1"+own+" AND own.tag_id IN ("+marks+"))", values...)
	}
	if ids := key.allTags.ids(); ids != nil {
		marks, values := database.In(ids)
		and("(SELECT COUNT(*)"+own+" AND own.tag_id IN ("+marks+")) = ?", append(values, len(ids))...)
	}
	if key.tagName != "" {
		and("EXISTS (SELECT 1"+own+" AND tag.name = ?)", key.tagName)
	}
}

// idList is a list of ids as text, in ascending order and each once: "1,2".
type idList string

func newIDList(ids []uint64) idList {
	possible := make([]uint64, 0, len(ids))
	for _, id := range ids {
		possible = append(possible, min(id, largestID))
	}
	slices.Sort(possible)
	var text []byte
	for _, id := range slices.Compact(possible) {
		text = append(strconv.AppendUint(text, id, 10), ',')
	}
	return idList(strings.TrimSuffix(string(text), ","))
}

func (l idList) ids() (ids []uint64) {
	if l == "" {
		return nil
	}
	for text := range strings.SplitSeq(string(l), ",") {
		id, _ := strconv.ParseUint(text, 10, 64) // newIDList has written it
		ids = append(ids, id)
	}
	return ids
}

// interval contains the times from the first until before the second, in milliseconds since
// 1970: the precision of the database.
type interval struct{ from, to int64 }

// Times that a database can compare with those of articles.
const (
	earliest = -30_610_224_000_000 // 1000-01-01
	latest   = 253_402_300_799_999 // the last millisecond of the year 9999
)

// always contains the times of all articles.
func always() interval { return interval{earliest, latest} }

func newInterval(of article.Interval) interval {
	i := always()
	if of.From != nil {
		i.from = milliseconds(*of.From)
	}
	if of.To != nil {
		i.to = milliseconds(*of.To)
	}
	return i
}

// milliseconds returns a time, rounded up, because no time of an article is between two
// milliseconds.
func milliseconds(t time.Time) int64 {
	if t.Before(time.UnixMilli(earliest)) {
		return earliest
	}
	if rounded := t.Truncate(time.Millisecond); rounded.Before(t) {
		t = rounded.Add(time.Millisecond)
	}
	return min(t.UnixMilli(), latest)
}

func (i interval) contains(t time.Time) bool {
	ms := t.UnixMilli()
	return ms >= i.from && (ms < i.to || i.to == latest)
}

// conditions adds the conditions on a column.
func (i interval) conditions(stmt *statement, column string) {
	if i.from > earliest {
		stmt.and(column+" >= ?", time.UnixMilli(i.from).UTC())
	}
	if i.to < latest {
		stmt.and(column+" < ?", time.UnixMilli(i.to).UTC())
	}
}

// position is an article.Position that can be compared by ==. The zero position is before
// every list.
type position struct {
	set   bool
	id    uint64
	time  int64 // in milliseconds since 1970
	title string
	rank  int
}

func newPosition(of article.Position) position {
	return position{set: true, id: min(of.ID, math.MaxInt64), time: min(max(of.Time.UnixMilli(), earliest), latest), title: of.Title, rank: of.Rank}
}

// position returns the article.Position.
func (p position) position() article.Position {
	return article.Position{ID: p.id, Time: time.UnixMilli(p.time).UTC(), Title: p.title, Rank: p.rank}
}
