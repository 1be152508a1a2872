package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// now returns the time as a SQL expression, the same everywhere in a statement. It is the clock
// of the database server, so that all replicas agree. A SQLite database belongs to this process.
func (s *Store) now() string {
	if s.db.Dialect() == database.SQLite {
		return s.moment(time.Now())
	}
	return "UTC_TIMESTAMP(3)"
}

// moment returns a time as a SQL expression.
func (s *Store) moment(t time.Time) string {
	layout := "TIMESTAMP'2006-01-02 15:04:05.000'"
	if s.db.Dialect() == database.SQLite {
		layout = "'" + sqliteTime + "'"
	}
	return t.UTC().Truncate(time.Millisecond).Format(layout)
}

// earliest returns a SQL expression of the time of the first article that is scheduled, NULL if
// there is none. It reads one entry of an index.
func (s *Store) earliest() string {
	return fmt.Sprintf("(SELECT published_at FROM %s WHERE is_deleted = 0 AND state = %d ORDER BY published_at LIMIT 1)",
		s.db.Indexed("article", "article_published"), article.Scheduled)
}

// currentState returns a SQL expression of the state of an article at the time now: one that is
// scheduled is enabled from its time on, whether its row says so yet or not.
func currentState(alias, now string) string {
	return fmt.Sprintf("CASE WHEN %s.state = %d AND %[1]s.published_at <= %[3]s THEN %[4]d ELSE %[1]s.state END", alias, article.Scheduled, now, article.Enabled)
}

// sqlTime is a time that the type of a column doesn't tell the driver of SQLite. It is the zero
// time for NULL.
type sqlTime struct{ time.Time }

// Scan implements sql.Scanner.
func (t *sqlTime) Scan(value any) (err error) {
	switch value := value.(type) {
	case nil:
		t.Time = time.Time{}
	case time.Time:
		t.Time = value.UTC()
	case string:
		t.Time, err = time.Parse(sqliteTime, value)
	default:
		err = fmt.Errorf("the database returned %T as a time", value)
	}
	return err
}

// schedule is what is scheduled at the time of a read.
type schedule struct {
	began time.Time // before the read, by the clock of this process
	now   sqlTime   // by the clock of the database; not set if the list doesn't depend on it
	next  sqlTime   // of the first article that is scheduled, not set if there is none
}

// scheduleColumns returns the columns of a schedule at the time now.
func (s *Store) scheduleColumns(now string) string {
	return now + " AS moment, " + s.earliest() + " AS earliest"
}

// noSchedule are the columns of a schedule of a list that doesn't depend on it.
const noSchedule = "NULL AS moment, NULL AS earliest"

// due reports whether the time of an article has come whose row says that it is scheduled.
func (sc schedule) due() bool { return !sc.next.IsZero() && !sc.next.After(sc.now.Time) }

// until returns the time, by the clock of this process, at which the next article is published.
// It is in the past if there is one that is due, and the zero time if there is none.
func (sc schedule) until() time.Time {
	if sc.next.IsZero() {
		return time.Time{}
	}
	return sc.began.Add(sc.next.Sub(sc.now.Time))
}

// schedule returns what is scheduled now.
func (s *Store) schedule(tx *gorm.DB) (schedule, error) {
	found := schedule{began: time.Now()}
	err := s.db.QueryIn(tx, "SELECT "+s.scheduleColumns(s.now()), nil, func(rows *sql.Rows) error {
		return rows.Scan(&found.now, &found.next)
	})
	return found, err
}

// at prepares a list to be read by several statements in a transaction: they use the same time.
func (s *Store) at(tx *gorm.DB, key listKey) (listKey, schedule, error) {
	if !key.enabled() {
		key.now = s.now()
		return key, schedule{}, nil
	}
	found, err := s.schedule(tx)
	key.now, key.merged = s.moment(found.now.Time), key.mustMerge(found)
	return key, found.of(key), err
}

// enabled reports whether the articles of the list are enabled.
func (key listKey) enabled() bool { return !key.anyState && key.state == article.Enabled }

// mustMerge reports whether rows with the state article.Scheduled belong to a list of enabled
// articles. To a public list only those do whose time has come, until PublishDue has
// changed their state, which takes moments.
func (key listKey) mustMerge(found schedule) bool {
	return key.enabled() && !found.next.IsZero() && (!key.public || found.due())
}

// of returns the schedule if a list changes with it, without a write.
func (sc schedule) of(key listKey) schedule {
	if key.public {
		return sc
	}
	return schedule{}
}

// setPublication sets the state of a row and the time at which it is published by the draft, and
// returns the columns that have changed.
func (s *Store) setPublication(tx *gorm.DB, row *articleRow, draft article.Draft) (columns []string, err error) {
	enabled, at := row.State != article.Disabled, row.PublishedAt
	if draft.State != nil {
		enabled = *draft.State != article.Disabled
	}
	if draft.PublishedAt != nil {
		at = *draft.PublishedAt
	}
	if at.IsZero() {
		at = row.CreatedAt
	}
	if !at.Equal(row.PublishedAt) {
		columns = append(columns, "published_at")
	}
	if columns == nil && enabled == (row.State != article.Disabled) {
		return nil, nil // even if its time has come
	}
	row.PublishedAt = at
	state := article.Disabled
	if enabled {
		if state, err = s.enabledState(tx, row); err != nil {
			return nil, err
		}
	}
	if state != row.State {
		columns = append(columns, "state")
	}
	row.State = state
	return columns, nil
}

// enabledState returns the state of an article that is enabled by its time. What is published
// with its creation never is scheduled, whatever the clocks of replicas and database are.
func (s *Store) enabledState(tx *gorm.DB, row *articleRow) (article.State, error) {
	if row.PublishedAt.Equal(row.CreatedAt) {
		return article.Enabled, nil
	}
	later, err := s.later(tx, row.PublishedAt)
	if err == nil && later && row.State != article.Scheduled {
		err = s.mayScheduleMore(tx)
	}
	return article.Enabled.Of(later), err
}

// later reports whether a time is still to come.
func (s *Store) later(tx *gorm.DB, at time.Time) (later bool, err error) {
	var now sqlTime
	err = s.db.QueryIn(tx, "SELECT "+s.now(), nil, func(rows *sql.Rows) error { return rows.Scan(&now) })
	return at.After(now.Time), err
}

// mayScheduleMore returns an error if as many articles are scheduled as may be.
func (s *Store) mayScheduleMore(tx *gorm.DB) error {
	var n int
	query := "SELECT COALESCE(SUM(value), 0) FROM " + s.db.Table("article_count") + " WHERE tag_id = 0 AND state = ?"
	err := s.db.QueryIn(tx, query, []any{article.Scheduled}, func(rows *sql.Rows) error { return rows.Scan(&n) })
	if err == nil && n >= s.maxScheduled {
		err = errcode.New(errcode.TooManyScheduled)
	}
	return err
}

// publishIfDue makes an article that is locked public if its time has come: in its row, in its
// associations and in the feed. It returns the change of the counters. The revision stays:
// nothing changes for those who have seen the article before.
func (s *Store) publishIfDue(tx *gorm.DB, row *articleRow, have associations) (counts, error) {
	changes := counts{}
	if row.State != article.Scheduled {
		return changes, nil
	}
	if later, err := s.later(tx, row.PublishedAt); err != nil || later {
		return changes, err
	}
	row.State = article.Enabled
	if _, err := s.db.Exec(tx, "UPDATE "+s.db.Table("article")+" SET state = ? WHERE id = ?", row.State, row.ID); err != nil {
		return nil, err
	}
	if err := have.setPublication(tx, *row); err != nil {
		return nil, err
	}
	changes.add(-1, article.Scheduled, have.tagIDs())
	changes.add(1, article.Enabled, have.tagIDs())
	return changes, s.addChange(tx, row.ID, article.Scheduled, article.Enabled)
}

const (
	// dueInterval is the time between two looks for articles to publish: other replicas may
	// schedule some for the moment after.
	dueInterval = time.Second
	// dueBatch is the number of articles to publish that are read at a time.
	dueBatch = 100
)

// DuePublisher changes the state of articles that were scheduled when their time has come, and adds
// the change to the feed. Several replicas may do so at the same time. Nothing waits for it: reads
// compare the time themselves.
type DuePublisher struct {
	Store *Store
	// Published is called when articles were published.
	Published func()
	Log       *zap.Logger
}

// Run publishes until ctx ends, and returns nil. It tries again after a failure, and logs the first
// one of several.
func (p DuePublisher) Run(ctx context.Context) error {
	for failed := false; ; {
		published, wait, err := p.Store.publishDue(ctx)
		if published > 0 {
			p.Published()
		}
		logged := failed
		if failed = err != nil; failed && !logged && ctx.Err() == nil {
			p.Log.Warn("articles that are due could not be published; they are public, but not in the feed of changes", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// publishDue publishes articles that are due, and returns their number, and how long to wait until
// it is worth the next call.
func (s *Store) publishDue(ctx context.Context) (published int, wait time.Duration, err error) {
	var found schedule
	var ids []uint64
	if err := s.db.Read(ctx, func(db *gorm.DB) (err error) {
		if found, err = s.schedule(db); err == nil && found.due() {
			ids, err = s.due(db)
		}
		return err
	}); err != nil {
		return 0, dueInterval, err
	}
	for _, id := range ids {
		done, err := s.publish(ctx, id)
		if err != nil {
			return published, dueInterval, err
		}
		if done {
			published++
		}
	}
	switch {
	case published > 0:
		return published, 0, nil // there may be more
	case len(ids) > 0 || found.next.IsZero(): // others were faster, or nothing is scheduled
		return 0, dueInterval, nil
	default:
		return 0, min(dueInterval, max(time.Until(found.until()), time.Millisecond)), nil
	}
}

// due returns the ids of articles that are due, the first ones first.
func (s *Store) due(db *gorm.DB) (ids []uint64, err error) {
	query := "SELECT id FROM " + s.db.Indexed("article", "article_published") + " WHERE is_deleted = 0 AND state = ? AND published_at <= " + s.now() +
		" ORDER BY published_at, id LIMIT ?"
	return ids, s.db.QueryIn(db, query, []any{article.Scheduled, dueBatch}, func(rows *sql.Rows) error {
		ids = append(ids, 0)
		return rows.Scan(&ids[len(ids)-1])
	})
}

// publish publishes an article if it is still due, and reports whether it was.
func (s *Store) publish(ctx context.Context, id uint64) (done bool, err error) {
	err = s.db.InTx(ctx, func(tx *gorm.DB) error {
		var row articleRow
		err := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Select("id", "state", "published_at").Take(&row, id).Error
		if done = false; errors.Is(err, gorm.ErrRecordNotFound) {
			return nil // it was deleted
		}
		if err != nil {
			return err
		}
		have, err := s.associationsOf(tx, id)
		if err != nil {
			return err
		}
		before := row.State
		changes, err := s.publishIfDue(tx, &row, have)
		done = row.State != before
		if err != nil {
			return err
		}
		return s.count(tx, changes)
	})
	return done, err
}
