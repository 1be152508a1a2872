package store_test

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/cursor"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/tag/internal/store"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

var orders = []string{"id", "-id", "name", "-name", "created_at", "-created_at"}

// expected returns the tags of a list as its parameters say.
func expected(all []tag.Tag, filter tag.Filter, order tag.Order) []tag.Tag {
	found := slices.DeleteFunc(slices.Clone(all), func(one tag.Tag) bool {
		return filter.Name != nil && one.Name != *filter.Name || filter.State != nil && one.State != *filter.State ||
			filter.Prefix != nil && !strings.HasPrefix(one.Name, *filter.Prefix)
	})
	slices.SortFunc(found, func(a, b tag.Tag) int {
		result := map[string]int{"name": cmp.Compare(a.Name, b.Name), "created_at": a.CreatedAt.Compare(b.CreatedAt)}[order.By]
		result = cmp.Or(result, cmp.Compare(a.ID, b.ID))
		if order.Descending {
			return -result
		}
		return result
	})
	return found
}

// walk reads a list by cursors, and calls between before each page but the first.
func walk(t *testing.T, s *store.Store, filter tag.Filter, order tag.Order, size int, between func()) (all []tag.Tag) {
	t.Helper()
	page := tag.Page{Limit: size, Order: order}
	for {
		found, err := s.List(t.Context(), filter, page)
		require.NoError(t, err)
		require.LessOrEqual(t, len(found.Tags), size)
		all = append(all, found.Tags...)
		if !found.More {
			return all
		}
		require.Len(t, found.Tags, size)
		page.After = order.Position(found.Tags[size-1])
		if between != nil {
			between()
		}
	}
}

// atOnce gives tags the same time of creation.
func atOnce(t *testing.T, db *database.DB, ids ...uint64) {
	t.Helper()
	exec(t, db, "UPDATE blog_tag SET created_at = ? WHERE id IN ?", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), ids)
}

// Lists have the tags of their filter in their order, by pages with numbers and by
// cursors, and their number.
func TestOrdersAndPrefixes(t *testing.T) {
	names := []string{
		"a", "A", "a%b", "a_b", "aXb", "ab", "abc", "a b", "a!", "Go", "Go 语言", "Golang", "Go!", "go", "字", "字典", "🦄", "🦄🦄", "é", "e", "z",
		"\U0010FFFF", "\U0010FFFFx", "\uD7FF", "\uD7FFx", "\uE000", "x\\y", `x\%`, "x'y",
	}
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db, s := open(t, cfg)
		rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for i, name := range names {
			created, _, err := s.Create(t.Context(), draft(name, tag.State(i%3&1)), idempotency.Key{})
			require.NoError(t, err)
			if i%2 == 0 {
				atOnce(t, db, created.ID)
			}
		}
		for _, name := range []string{"a deleted", "Go deleted"} {
			require.NoError(t, s.Delete(t.Context(), create(t, s, name).ID, "", nil))
		}
		list, err := s.List(t.Context(), tag.Filter{}, tag.Page{Limit: 100})
		require.NoError(t, err)
		all := list.Tags
		require.Len(t, all, len(names))
		for _, filter := range filters("a", "a%", "a_", "A", "Go", "Go ", "go", "字", "🦄", "\U0010FFFF", "\uD7FF", "\uE000", "x\\", "'", "%", "_", "nothing", "a\x00", "\x1f", "Go\x1f", " ", "e") {
			for _, text := range orders {
				order := tag.ParseOrder(text)
				want := expected(all, filter, order)
				for _, size := range []int{5, 100} {
					require.Equal(t, want, noTags(walk(t, s, filter, order, size, nil)), "%s %s", text, described(filter))
					for offset := 0; offset <= len(want)+1; offset += size {
						found, err := s.List(t.Context(), filter, tag.Page{Offset: offset, Limit: size, Order: order})
						require.NoError(t, err)
						require.Equal(t, want[min(offset, len(want)):min(offset+size, len(want))], noTags(found.Tags))
						require.Equal(t, offset+size < len(want), found.More)
						require.EqualValues(t, len(want), found.Total, described(filter))
						require.False(t, found.AtLeast)
					}
				}
			}
		}
	})
}

// noTags returns tags that are not nil.
func noTags(tags []tag.Tag) []tag.Tag { return append([]tag.Tag{}, tags...) }

// filters returns filters with each prefix and without, each with and without a state, and
// some with a name.
func filters(prefixes ...string) (all []tag.Filter) {
	for _, state := range []*tag.State{nil, new(tag.Enabled), new(tag.Disabled)} {
		all = append(all, tag.Filter{State: state}, tag.Filter{Name: new("Go"), State: state}, tag.Filter{Name: new("Go"), Prefix: new("G"), State: state},
			tag.Filter{Name: new("Go"), Prefix: new("a"), State: state}, tag.Filter{Name: new("deleted"), State: state}, tag.Filter{Prefix: new(""), State: state})
		for _, prefix := range prefixes {
			all = append(all, tag.Filter{Prefix: &prefix, State: state})
		}
	}
	return all
}

func described(filter tag.Filter) string {
	var text string
	for name, value := range map[string]*string{"name": filter.Name, "prefix": filter.Prefix} {
		if value != nil {
			text += fmt.Sprintf("%s=%q ", name, *value)
		}
	}
	if filter.State != nil {
		text += fmt.Sprint("state=", *filter.State)
	}
	return text
}

// While tags are added, deleted, enabled and disabled, a client that reads by cursors sees
// each tag that stays once, and no tag twice.
func TestCursorsAreStable(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db, s := open(t, cfg)
		var ids []uint64
		for i := range 60 {
			ids = append(ids, create(t, s, fmt.Sprint("stays ", i*7%60)).ID)
		}
		atOnce(t, db, ids[10:40]...)
		for _, text := range orders {
			for _, filter := range []tag.Filter{{}, {State: new(tag.Enabled)}, {Prefix: new("s")}, {Prefix: new("s"), State: new(tag.Enabled)}} {
				order, n := tag.ParseOrder(text), 0
				var others []uint64
				seen := walk(t, s, filter, order, 5, func() {
					n++
					added := create(t, s, fmt.Sprintf("s%cother %s %d", ' '+rune(n), text, n)).ID
					if n%2 == 0 {
						atOnce(t, db, added)
					}
					if others = append(others, added); n > 2 {
						require.NoError(t, s.Delete(t.Context(), others[0], "", nil))
						others = others[1:]
					}
				})
				times := map[uint64]int{}
				for _, one := range seen {
					times[one.ID]++
					require.Equal(t, 1, times[one.ID], "%s %s: %s twice", text, described(filter), one.Name)
				}
				for _, id := range ids {
					require.Equal(t, 1, times[id], "%s %s: tag %d", text, described(filter), id)
				}
				require.True(t, slices.IsSortedFunc(seen, order.Compare))
				for _, id := range others {
					require.NoError(t, s.Delete(t.Context(), id, "", nil))
				}
			}
		}
	})
}

// The tag of a cursor may be deleted meanwhile, and a cursor may name a place where no tag
// has been.
func TestPlacesOfCursors(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		_, s := open(t, cfg)
		a, b, c := create(t, s, "a"), create(t, s, "b"), create(t, s, "c")
		require.NoError(t, s.Delete(t.Context(), b.ID, "", nil))
		for text, want := range map[string]uint64{"id": c.ID, "-id": a.ID, "name": c.ID, "-name": a.ID, "created_at": c.ID, "-created_at": a.ID} {
			order := tag.ParseOrder(text)
			found, err := s.List(t.Context(), tag.Filter{}, tag.Page{Limit: 10, Order: order, After: order.Position(b)})
			require.NoError(t, err)
			require.Len(t, found.Tags, 1, text)
			require.Equal(t, want, found.Tags[0].ID)
		}
		for _, text := range orders {
			for _, filter := range []tag.Filter{{}, {Prefix: new("a")}, {Name: new("a")}} {
				for _, key := range []string{"", "\x00", "\U0010FFFF", strings.Repeat("🦄", 128), "' OR 1=1 --", "0000-01-01T00:00:00.000Z", "0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"} {
					for _, id := range []uint64{1, math.MaxInt64} {
						_, err := s.List(t.Context(), filter, tag.Page{Limit: 10, Order: tag.ParseOrder(text), After: cursor.Position{Key: key, ID: id}})
						if err != nil {
							require.Equal(t, cursor.Invalid(), err, "%s %q", text, key)
						}
					}
				}
			}
		}
		order := tag.Order{By: tag.ByCreatedAt}
		_, err := s.List(t.Context(), tag.Filter{}, tag.Page{Limit: 10, Order: order, After: cursor.Position{Key: "no time", ID: 1}})
		require.Equal(t, cursor.Invalid(), err)
	})
}

// Tags with a prefix are counted up to a bound. Up to the same bound they can be sorted.
func TestBoundOfPrefixes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db, s := open(t, cfg)
		fill(t, db, tag.MaxCounted, func(int) (int, int) { return 0, 1 })
		create(t, s, "other")
		for _, text := range orders {
			order := tag.ParseOrder(text)
			found, err := s.List(t.Context(), tag.Filter{Prefix: new("tag ")}, tag.Page{Limit: 10, Order: order})
			require.NoError(t, err)
			require.EqualValues(t, tag.MaxCounted, found.Total)
			require.False(t, found.AtLeast)
		}
		create(t, s, "tag that is too many")
		for _, state := range []*tag.State{nil, new(tag.Enabled)} {
			for _, text := range orders {
				order := tag.ParseOrder(text)
				found, err := s.List(t.Context(), tag.Filter{Prefix: new("tag "), State: state}, tag.Page{Limit: 10, Order: order})
				if order.By != tag.ByName {
					var coded *errcode.Error
					require.True(t, errors.As(err, &coded), text)
					require.Equal(t, errcode.InvalidParams, coded.Code)
					require.Equal(t, "order_by", coded.Details[0].Field)
					continue
				}
				require.NoError(t, err)
				require.EqualValues(t, tag.MaxCounted, found.Total)
				require.True(t, found.AtLeast)
				require.Len(t, walk(t, s, tag.Filter{Prefix: new("tag "), State: state}, order, 100, nil), tag.MaxCounted+1)
			}
		}
	})
}

// A list reads about as many rows as its page has, and those before it, in each order; with
// a prefix also those that it counts or sorts. Most tags have the same time of creation.
func TestListsReadTheirPageOnly(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out what takes long")
	}
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		cfg.MaxOpenConns, cfg.MaxIdleConns = 1, 1 // the counters of rows are those of a connection
		db, s := open(t, cfg)
		rows := 100_000
		if cfg.DBType == database.SQLite { // only plans are looked at, which don't depend on it
			rows = 5000
		}
		fill(t, db, rows, func(i int) (int, int) { return (i + 1) % 100 / 99, i % 2 })
		exec(t, db, "UPDATE blog_tag SET created_at = '2026-01-02 03:04:05.000' WHERE id BETWEEN ? AND ?", rows/10, rows*9/10)
		if cfg.DBType == database.MySQL {
			dbtest.Analyze(t, db, "tag")
		}
		there, err := s.Get(t.Context(), uint64(rows/2))
		require.NoError(t, err)
		for _, text := range orders {
			order := tag.ParseOrder(text)
			for _, filter := range filters("tag", "tag 4", "tag 4999", "tag 49999", "nothing") {
				for about, page := range map[string]tag.Page{
					"first": {Limit: 100}, "deep": {Limit: 10, Offset: 1000}, "after": {Limit: 100, After: order.Position(there.Tag)},
				} {
					page.Order = order
					read := rowsRead(t, db, func() {
						found, err := s.List(t.Context(), filter, page)
						if err != nil {
							require.Equal(t, tag.TooManyToSort(), err)
						} else if found.More {
							require.Len(t, found.Tags, page.Limit)
						}
					})
					most := page.Offset + 5*page.Limit + 50
					if filter.Prefix != nil && *filter.Prefix != "" {
						most += 5 * tag.MaxCounted
					}
					require.LessOrEqual(t, read, most, "%s page by %s %s", about, text, described(filter))
				}
			}
		}
	})
}

// A page behind a tag doesn't read the other tags of the same time, which may be all.
func TestTagsOfTheSameTime(t *testing.T) {
	db, s := open(t, dbtest.SQLite(t))
	for order, want := range map[string]string{"created_at": "(is_deleted=? AND created_at=? AND rowid>?)", "-created_at": "(is_deleted=? AND created_at=? AND rowid<?)"} {
		order := tag.ParseOrder(order)
		plans := dbtest.Plans(t, db, func() {
			_, err := s.List(t.Context(), tag.Filter{}, tag.Page{Limit: 10, Order: order, After: order.Position(tag.Tag{ID: 1, CreatedAt: time.Now()})})
			require.NoError(t, err)
		})
		require.Len(t, plans, 1)
		require.Contains(t, strings.Join(plans[0].Steps, "\n"), want)
	}
}

// rowsRead returns the number of rows that work reads on the only connection of db. SQLite
// doesn't count them; there it requires that no table is read as a whole, and returns 0.
func rowsRead(t *testing.T, db *database.DB, work func()) (rows int) {
	t.Helper()
	if db.Dialect() == database.SQLite {
		dbtest.Indexed(t, db, work)
		return 0
	}
	before := handlerReads(t, db)
	work()
	return handlerReads(t, db) - before
}

// handlerReads returns the number of rows that MariaDB has read on the only connection of
// db.
func handlerReads(t *testing.T, db *database.DB) (sum int) {
	t.Helper()
	var status []struct {
		VariableName string
		Value        int
	}
	require.NoError(t, db.Gorm(t.Context()).Raw("SHOW SESSION STATUS LIKE 'Handler_read%'").Scan(&status).Error)
	for _, s := range status {
		sum += s.Value
	}
	return sum
}
