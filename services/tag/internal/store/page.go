package store

import (
	"slices"
	"time"
	"unicode/utf8"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// statement is a statement, or a part of one, with its values.
type statement struct {
	text   string
	values []any
}

// then returns the statement with more text behind it.
func (stmt statement) then(text string, values ...any) statement {
	return statement{stmt.text + text, slices.Concat(stmt.values, values)}
}

// within returns the statement between two texts.
func (stmt statement) within(before, after string) statement {
	return statement{before + stmt.text + after, stmt.values}
}

// sorted reports whether the tags of a list are sorted when it is read, because no index
// has them in its order.
func (key listKey) sorted() bool {
	return key.prefix != "" && !key.named && key.page.Order.By != tag.ByName
}

// numbers returns the query of the number of tags. It is a counter, unless there are
// conditions on the name.
func (s *Store) numbers(key listKey) statement {
	column := "enabled_tags + disabled_tags"
	switch {
	case key.named || key.prefix != "":
		return s.selected(key, "id").then(" LIMIT ?", tag.MaxCounted+1).within("SELECT COUNT(*) AS total FROM (", ") AS counted")
	case key.hasState && key.state == tag.Enabled:
		column = "enabled_tags"
	case key.hasState:
		column = "disabled_tags"
	}
	return statement{text: "SELECT " + column + " AS total FROM " + s.db.Table("tag_sequence") + " WHERE id = 1"}
}

// page returns the query of the ids on a page and of the first one behind it. It reads an
// index in the order of the list, from the position before the page, or sorts at most
// tag.MaxCounted tags.
func (s *Store) page(key listKey) (statement, error) {
	stmt := s.selected(key, "id")
	if key.sorted() {
		columns := "id"
		if key.page.Order.By == tag.ByCreatedAt {
			columns = "id, created_at"
		}
		stmt = s.selected(key, columns).then(" LIMIT ?", tag.MaxCounted+1).within("SELECT id FROM (", ") AS found WHERE 1 = 1")
	}
	if key.page.After.Valid() {
		var err error
		if stmt, err = s.after(key, stmt); err != nil {
			return statement{}, err
		}
	}
	return stmt.then(" ORDER BY "+orderBy(key.page.Order)+" LIMIT ? OFFSET ?", key.page.Limit+1, key.page.Offset), nil
}

// after returns a query with the condition that its tags come after the position before
// the page.
func (s *Store) after(key listKey, stmt statement) (statement, error) {
	order, after, beyond := key.page.Order, key.page.After, " > ?"
	if order.Descending {
		beyond = " < ?"
	}
	switch order.By {
	case tag.ByName:
		return stmt.then(" AND active_name"+beyond, after.Key), nil
	case tag.ByCreatedAt:
		at, err := after.Time()
		if s.db.Dialect() == database.SQLite && !key.named && !key.sorted() {
			return s.afterTime(key, at, beyond), err
		}
		return stmt.then(" AND (created_at"+beyond+" OR created_at = ? AND id"+beyond+")", at, at, after.ID), err
	default:
		return stmt.then(" AND id"+beyond, after.ID), nil
	}
}

// afterTime returns the query of the tags after a time and an id. With one condition SQLite
// would read all tags of that time, so it is a union of two queries, each of which begins at
// its own place in the index.
func (s *Store) afterTime(key listKey, at time.Time, beyond string) statement {
	order := " ORDER BY " + orderBy(key.page.Order) + " LIMIT ?"
	selected := s.selected(key, "id, created_at")
	equal := selected.then(" AND created_at = ? AND id"+beyond+order, at, key.page.After.ID, key.page.Limit+1)
	rest := selected.then(" AND created_at"+beyond+order, at, key.page.Limit+1)
	return equal.within("SELECT id FROM (SELECT * FROM (", ") UNION ALL SELECT * FROM (").then(rest.text, rest.values...).then(")) AS behind")
}

// orderBy returns the columns of an order.
func orderBy(order tag.Order) string {
	direction := ""
	if order.Descending {
		direction = " DESC"
	}
	switch order.By {
	case tag.ByName: // is unique
		return "active_name" + direction
	case tag.ByCreatedAt:
		return "created_at" + direction + ", id" + direction
	default:
		return "id" + direction
	}
}

// selected returns a query of columns of a list's tags. It names the index that has the
// conditions and the order of the list, because planners choose the primary key while few
// tags are deleted.
func (s *Store) selected(key listKey, columns string) statement {
	byName := key.prefix != "" || key.page.Order.By == tag.ByName
	index, condition := "tag_is_deleted", statement{text: "is_deleted = 0"}
	switch {
	case key.named:
		index, condition = "", statement{"active_name = ?", []any{key.name}}
	case byName && key.hasState:
		index, condition = "tag_state_active_name", statement{text: "active_name >= ''"}
	case byName:
		index, condition = "tag_active_name", statement{text: "active_name >= ''"}
	case key.page.Order.By == tag.ByCreatedAt && key.hasState:
		index = "tag_is_deleted_state_created_at"
	case key.page.Order.By == tag.ByCreatedAt:
		index = "tag_is_deleted_created_at"
	case key.hasState:
		index = "tag_is_deleted_state"
	}
	stmt := condition.within("SELECT "+columns+" FROM "+s.db.Indexed("tag", index)+" WHERE ", "")
	if key.prefix != "" {
		stmt = withPrefix(stmt, key.prefix)
	}
	if key.hasState {
		stmt = stmt.then(" AND state = ?", key.state)
	}
	return stmt
}

// withPrefix returns a query with the condition that names begin with a text. Names are
// compared by code points in both dialects, but MySQL ignores spaces at the end: for it
// "Go" is not less than "Go ", though it does not begin with that. No name ends with a
// space.
func withPrefix(stmt statement, prefix string) statement {
	from := " AND active_name >= ?"
	if prefix[len(prefix)-1] == ' ' {
		from = " AND active_name > ?"
	}
	stmt = stmt.then(from, prefix)
	if next := afterPrefix(prefix); next != "" {
		stmt = stmt.then(" AND active_name < ?", next)
	}
	return stmt
}

// afterPrefix returns the first text behind all that begin with the prefix, "" if there is
// none.
func afterPrefix(prefix string) string {
	const beforeSurrogates, afterSurrogates = 0xD7FF, 0xE000
	for prefix != "" {
		last, size := utf8.DecodeLastRuneInString(prefix)
		prefix = prefix[:len(prefix)-size]
		switch last {
		case utf8.MaxRune: // the texts behind begin with less
		case beforeSurrogates:
			return prefix + string(rune(afterSurrogates))
		default:
			return prefix + string(last+1)
		}
	}
	return ""
}
