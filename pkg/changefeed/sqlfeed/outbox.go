package sqlfeed

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/coalesce"
	"github.com/achilles-blog/achilles/pkg/database"
)

// publishBatch is the maximum number of changes that get their numbers in one transaction.
const publishBatch = 500

// Outbox gives the changes of a feed their numbers after the commit of their writes, so that
// writes don't wait for each other. A write adds its change to the table of the outbox;
// Publish moves it to the table of changes.
//
// Changes get their numbers in the order in which they were added. A write must add its
// change while it has locked what it changes: then changes of an object are in order, and so
// are writes of which one was acknowledged before the other began.
type Outbox struct {
	feed    Feed
	config  OutboxConfig
	publish *coalesce.Group[struct{}, Numbers]
}

// OutboxConfig describes an Outbox. Its table has the columns id, which the database
// counts up, created_at, and those in Columns.
type OutboxConfig struct {
	Table   string
	Columns []string
	// Part, if not nil, is a part of the feed that has numbers of its own, and InPart a
	// condition on the columns that says which changes belong to it.
	Part   *Feed
	InPart string
}

// Numbers are those of the newest changes, of the feed and of its part.
type Numbers struct{ Last, Part uint64 }

// NewOutbox returns an Outbox of a feed.
func NewOutbox(feed Feed, config OutboxConfig) *Outbox {
	o := &Outbox{feed: feed, config: config}
	o.publish = coalesce.NewSingle(coalesce.Config{MaxReads: 1, Timeout: feed.DB.Timeout()},
		func(ctx context.Context, _ struct{}) (Numbers, error) { return o.publishAll(ctx) })
	return o
}

// Add adds changes in the transaction of their writes. values has one value for each of
// Columns, change after change.
func (o *Outbox) Add(tx *gorm.DB, values ...any) error {
	columns := append([]string{"created_at"}, o.config.Columns...)
	var rows []any
	for change := range slices.Chunk(values, len(o.config.Columns)) {
		rows = append(append(rows, tx.NowFunc()), change...)
	}
	_, err := o.feed.DB.Insert(tx, o.config.Table, columns, rows...)
	return err
}

// Publish gives numbers to all changes whose writes were committed before the call, and
// returns the newest ones. Calls that wait at the same time share the work.
func (o *Outbox) Publish(ctx context.Context) (Numbers, error) {
	numbers, _, err := o.publish.Get(ctx, struct{}{})
	return numbers, err
}

func (o *Outbox) publishAll(ctx context.Context) (numbers Numbers, err error) {
	upTo, numbers, err := o.pending(ctx)
	for err == nil && upTo > 0 {
		numbers, upTo, err = o.move(ctx, upTo)
	}
	return numbers, err
}

// pending returns the id of the newest change in the outbox, 0 if it is empty, and the
// numbers.
func (o *Outbox) pending(ctx context.Context) (upTo uint64, numbers Numbers, err error) {
	found := false
	query := "SELECT " + o.numbers() + ", COALESCE((SELECT MAX(id) FROM " + o.feed.DB.Table(o.config.Table) + "), 0) FROM " +
		o.feed.DB.Table(o.feed.Sequence) + " WHERE id = 1"
	err = o.feed.DB.Query(ctx, query, nil, func(rows *sql.Rows) error {
		found = true
		return rows.Scan(&numbers.Last, &numbers.Part, &upTo)
	})
	if err == nil && !found {
		err = o.feed.ErrNoRow()
	}
	return upTo, numbers, err
}

// numbers returns the columns of Numbers.
func (o *Outbox) numbers() string {
	if o.config.Part == nil {
		return o.feed.Last + ", 0"
	}
	return o.feed.Last + ", " + o.config.Part.Last
}

// move gives numbers to the first changes with ids up to the given one, which must have been
// read before. It returns the numbers, and the id up to which there is more to do, or 0.
//
// A change in the outbox may follow from another one, by the lock of an object or by an
// acknowledgement, that was added, with a lower id, and committed before. What moves must
// include that one. A snapshot of MariaDB may lack it, if it was committed while the snapshot
// began. But here it can't: the later change got its id before the change with the id upTo
// did, which was committed before this transaction began.
func (o *Outbox) move(ctx context.Context, upTo uint64) (numbers Numbers, more uint64, err error) {
	err = o.feed.DB.InTx(ctx, func(tx *gorm.DB) (err error) {
		if numbers, err = o.lock(tx); err != nil {
			return err
		}
		batch, err := o.first(tx, upTo)
		more = 0
		if err != nil || len(batch.ids) == 0 {
			return err // others were faster
		}
		if len(batch.ids) == publishBatch {
			more = upTo
		}
		numbers, err = o.number(tx, batch, numbers)
		return err
	})
	return numbers, more, err
}

// lock locks the row of the sequence, and returns the numbers.
func (o *Outbox) lock(tx *gorm.DB) (numbers Numbers, err error) {
	query := "SELECT " + o.numbers() + " FROM " + o.feed.DB.Table(o.feed.Sequence) + " WHERE id = 1"
	if o.feed.DB.Dialect() == database.MySQL { // SQLite has one writer at a time
		query += " FOR UPDATE"
	}
	return numbers, o.feed.DB.QueryIn(tx, query, nil, func(rows *sql.Rows) error { return rows.Scan(&numbers.Last, &numbers.Part) })
}

// batch is a part of the outbox.
type batch struct {
	ids    []any
	inPart []bool
	rows   [][]any // created_at and the columns
}

// first returns the first changes in the outbox. It must not lock them: changes that are
// being added would wait, or be waited for.
func (o *Outbox) first(tx *gorm.DB, upTo uint64) (found batch, err error) {
	inPart := "0"
	if o.config.Part != nil {
		inPart = o.config.InPart
	}
	query := "SELECT id, " + inPart + ", created_at, " + strings.Join(o.config.Columns, ", ") + " FROM " + o.feed.DB.Table(o.config.Table) +
		" WHERE id <= ? ORDER BY id LIMIT ?"
	err = o.feed.DB.QueryIn(tx, query, []any{upTo, publishBatch}, func(rows *sql.Rows) error {
		var id uint64
		var in bool
		var created sql.NullTime
		row := make([]any, len(o.config.Columns))
		into := []any{&id, &in, &created}
		for i := range row {
			into = append(into, &row[i])
		}
		err := rows.Scan(into...)
		found.ids, found.inPart = append(found.ids, id), append(found.inPart, in)
		found.rows = append(found.rows, append([]any{created.Time}, row...))
		return err
	})
	return found, err
}

// number moves changes from the outbox to the feed.
func (o *Outbox) number(tx *gorm.DB, found batch, numbers Numbers) (Numbers, error) {
	db, part := o.feed.DB, o.config.Part
	columns := []string{o.feed.Number}
	if part != nil {
		columns = append(columns, part.Number)
	}
	columns = append(append(columns, "created_at"), o.config.Columns...)
	var values []any
	for i, row := range found.rows {
		numbers.Last++
		values = append(values, numbers.Last)
		if part != nil && found.inPart[i] {
			numbers.Part++
			values = append(values, numbers.Part)
		} else if part != nil {
			values = append(values, nil)
		}
		values = append(values, row...)
	}
	if _, err := db.Insert(tx, o.feed.Changes, columns, values...); err != nil {
		return numbers, err
	}
	if _, err := db.Exec(tx, "DELETE FROM "+db.Table(o.config.Table)+" WHERE id IN (?"+marks(len(found.ids)-1)+")", found.ids...); err != nil {
		return numbers, err
	}
	set, setValues := o.feed.Last+" = ?", []any{numbers.Last}
	if part != nil {
		set, setValues = set+", "+part.Last+" = ?", append(setValues, numbers.Part)
	}
	_, err := db.Exec(tx, "UPDATE "+db.Table(o.feed.Sequence)+" SET "+set+" WHERE id = 1", setValues...)
	return numbers, err
}

// marks returns n more parameters of a list.
func marks(n int) string { return strings.Repeat(", ?", n) }
