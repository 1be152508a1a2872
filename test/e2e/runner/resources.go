package runner

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/achilles-blog/achilles/scaffold/fields"
	"github.com/achilles-blog/achilles/test/e2e/load"
)

// resourceRow is a row of a resource. Its values are texts, as databases print them.
type resourceRow struct {
	id       uint64
	deleted  bool
	revision int
	values   map[string]string
}

// objectOf is an object in a ledger, with its name.
type objectOf struct {
	load.Object
	name string
	run  string
}

// compareResource compares the ledgers of a resource with its table and its feed of changes.
func (c *comparison) compareResource(ctx context.Context, db querier, r load.Resource) error {
	byID, byName := c.objects(r)
	unknown := 0
	seen := map[string]bool{}
	err := eachRow(ctx, db, r, func(row resourceRow) {
		object, known := byID[row.id]
		if named, ok := r.Named(); ok {
			o, sent := byName[row.values[named.Name]]
			switch {
			case !sent && !known:
				if !row.deleted && !c.byHand(row.values[named.Name]) {
					c.result.Unexpected++
					c.example("%s %d %q was never sent", r.Name, row.id, row.values[named.Name])
				}
				return
			case sent && seen[o.name]:
				c.result.Duplicated++
				c.example("%s %q exists twice", r.Name, o.name)
				return
			case sent:
				object, known = o, true
			}
		}
		if !known {
			unknown++
			return
		}
		seen[object.name] = true
		c.compareObject(r, object, row)
	})
	if err != nil {
		return err
	}
	c.countObjects(r, byName, seen, unknown)
	return c.compareResourceFeed(ctx, db, r)
}

// objects returns the objects of a resource in all ledgers by their acknowledged ids, and by
// their names.
func (c *comparison) objects(r load.Resource) (byID map[uint64]objectOf, byName map[string]objectOf) {
	byID, byName = map[uint64]objectOf{}, map[string]objectOf{}
	for owner, w := range c.writers {
		run, rest, _ := strings.Cut(owner, "/")
		source, worker, _ := strings.Cut(rest, "/")
		for seq, o := range w.Objects[r.Name] {
			found := objectOf{o, load.Name(run, source, worker, seq), run}
			byName[found.name] = found
			if o.ID != 0 {
				byID[o.ID] = found
			}
		}
	}
	return byID, byName
}

// byHand reports whether a name is that of an object of another worker, which has a ledger of
// its own.
func (c *comparison) byHand(name string) bool {
	run, source, worker, seq, ok := load.ParseName(name)
	w := c.writers[run+"/"+source+"/"+worker]
	return ok && w != nil && seq < max(len(w.Tags), len(w.Articles))
}

// compareObject compares an object with its row.
func (c *comparison) compareObject(r load.Resource, o objectOf, row resourceRow) {
	switch {
	case o.ID == 0 && o.run == c.run:
		c.result.Applied++
	case o.ID == 0:
	case o.ID != row.id:
		c.altered("%s %q has the id %d, but was acknowledged with %d", r.Name, o.name, row.id, o.ID)
	case o.Deleted && !row.deleted:
		c.altered("%s %d %q exists, but its deletion was acknowledged", r.Name, row.id, o.name)
	case row.deleted && !o.Deleting:
		c.result.Lost++
		c.example("%s %d %q is deleted, but nobody has deleted it", r.Name, row.id, o.name)
	case !same(r, row, o.name, o.Edits.Acknowledged) && !same(r, row, o.name, o.Edits.Sent):
		c.altered("%s %d %q has the values %v, edits: %+v", r.Name, row.id, o.name, row.values, o.Edits)
	}
}

// countObjects counts the writes of the run, and lost writes. unknown is the number of rows
// without a name whose ids were not acknowledged.
func (c *comparison) countObjects(r load.Resource, all map[string]objectOf, seen map[string]bool, unknown int) {
	unanswered := 0
	for name, o := range all {
		if o.run == c.run {
			c.result.Sent++
			if o.ID == 0 {
				c.result.Unanswered++
			} else {
				c.result.Acknowledged++
			}
		}
		if o.ID == 0 {
			unanswered++
		}
		if o.ID != 0 && !seen[name] {
			c.result.Lost++
			c.example("%s %d %q was acknowledged, but does not exist", r.Name, o.ID, name)
		}
	}
	c.result.Applied += min(unknown, unanswered)
	if more := unknown - unanswered; more > 0 {
		c.result.Unexpected += more
		c.example("%d rows of %s were never sent", more, r.Name)
	}
}

// compareResourceFeed compares the feed of changes with the revisions of a resource: each
// change, and the deletion, adds one entry, and the entries are numbered without gaps.
func (c *comparison) compareResourceFeed(ctx context.Context, db querier, r load.Resource) error {
	query := fmt.Sprintf("SELECT o.id, o.revision + o.is_deleted, COALESCE(f.entries, 0) FROM blog_%[1]s o LEFT JOIN ("+
		"SELECT %[1]s_id AS id, COUNT(*) AS entries FROM blog_%[1]s_change GROUP BY %[1]s_id) AS f ON f.id = o.id "+
		"WHERE o.revision + o.is_deleted <> COALESCE(f.entries, 0)", r.Name) // #nosec G201 -- a name in services/services.yaml
	if err := each(ctx, db, query, func(rows *sql.Rows) error {
		var id, changes, entries int
		if err := rows.Scan(&id, &changes, &entries); err != nil {
			return err
		}
		c.result.FeedDiffers++
		c.example("%s %d was changed %d times and has %d changes in the feed", r.Name, id, changes, entries)
		return nil
	}); err != nil {
		return err
	}
	query = fmt.Sprintf("SELECT value, (SELECT COUNT(*) FROM blog_%[1]s_change) FROM blog_%[1]s_sequence", r.Name) // #nosec G201 -- as above
	return each(ctx, db, query, func(rows *sql.Rows) error {
		var last, entries int
		if err := rows.Scan(&last, &entries); err != nil {
			return err
		}
		if last != entries {
			c.result.FeedDiffers++
			c.example("the feed of %s has %d changes, and the last one has the number %d", r.Name, entries, last)
		}
		return nil
	})
}

// eachRow calls a function for each row of a resource that was not there before.
func eachRow(ctx context.Context, db querier, r load.Resource, do func(resourceRow)) error {
	columns := make([]string, len(r.Fields))
	for i, f := range r.Fields {
		columns[i] = "`" + f.Name + "`"
	}
	query := fmt.Sprintf("SELECT id, is_deleted, revision, %s FROM blog_%s WHERE id > %d", strings.Join(columns, ", "), r.Name, r.Loaded) // #nosec G201 -- names in services/services.yaml
	return each(ctx, db, query, func(rows *sql.Rows) error {
		row := resourceRow{values: map[string]string{}}
		values := make([]sql.NullString, len(r.Fields))
		into := []any{&row.id, &row.deleted, &row.revision}
		for i := range values {
			into = append(into, &values[i])
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		for i, f := range r.Fields {
			row.values[f.Name] = values[i].String
		}
		do(row)
		return nil
	})
}

// same reports whether a row has the values of an object after an edit. Times are compared
// by the load only, because databases print them differently, and so are ids of other objects.
func same(r load.Resource, row resourceRow, name string, edit int) bool {
	want := r.Values(name, edit)
	for _, f := range r.Fields {
		got := row.values[f.Name]
		_, refers := r.Refers[f.Name]
		switch {
		case f.Type == fields.Time || refers:
			continue
		case f.Type == fields.State:
			if got != "1" {
				return false
			}
			continue
		case f.Type == fields.Bool:
			got = map[string]string{"0": "false", "1": "true"}[got] + map[string]string{"false": "false", "true": "true"}[got]
		}
		if got != fmt.Sprint(want[f.Name]) {
			return false
		}
	}
	return true
}
