package store

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

const (
	// counterSlots is the number of slots of a counter that writes use. On SQLite, where
	// writes wait for each other anyway, it is 1.
	counterSlots = 16
	// repairSlot is the slot that Recount changes. It is not one of writes, so that they
	// don't wait for Recount.
	repairSlot = 255
)

// Counter names a counter: of the articles with a state and a tag, or of all with the
// state if TagID is 0.
type Counter struct {
	TagID uint64
	State article.State
}

func compare(a, b Counter) int {
	return cmp.Or(cmp.Compare(a.TagID, b.TagID), cmp.Compare(a.State, b.State))
}

// counts are numbers of articles, or changes of them.
type counts map[Counter]int64

// add counts n articles with a state and tags.
func (c counts) add(n int64, state article.State, tagIDs []uint64) {
	c[Counter{State: state}] += n
	for _, id := range tagIDs {
		c[Counter{id, state}] += n
	}
}

type countRow struct {
	TagID uint64 `gorm:"primaryKey;autoIncrement:false"`
	State article.State
	Slot  uint8
	Value int64
}

// TableName implements gorm's TablerWithNamer.
func (countRow) TableName(namer schema.Namer) string { return namer.TableName("article_count") }

// count changes the counters. It must be called last in a transaction, which keeps the
// rows locked. They are locked in the order of their keys, which prevents deadlocks.
func (s *Store) count(tx *gorm.DB, changes counts) error {
	slot := uint8(0)
	if s.db.Dialect() == database.MySQL {
		slot = rand.N[uint8](counterSlots) // #nosec G404 -- no secret
	}
	return s.countIn(tx, slot, changes)
}

func (s *Store) countIn(tx *gorm.DB, slot uint8, changes counts) error {
	var rows []string
	var values []any
	for _, counter := range slices.SortedFunc(maps.Keys(changes), compare) {
		if n := changes[counter]; n != 0 {
			rows = append(rows, "(?, ?, ?, ?)")
			values = append(values, counter.TagID, counter.State, slot, n)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	conflict := " ON DUPLICATE KEY UPDATE value = value + VALUES(value)"
	if s.db.Dialect() == database.SQLite {
		conflict = " ON CONFLICT (tag_id, state, slot) DO UPDATE SET value = value + excluded.value"
	}
	_, err := s.db.Exec(tx, "INSERT INTO "+s.db.Table("article_count")+" (tag_id, state, slot, value) VALUES "+strings.Join(rows, ", ")+conflict, values...)
	return err
}

// recountTimeout is the timeout of Recount, which reads an index of all articles.
const recountTimeout = 10 * time.Minute

// Repair is a counter that was wrong.
type Repair struct {
	Counter
	Was, Is int64
}

// Recount counts all articles and repairs the counters that are wrong. Writes go on in the
// meantime, except that on SQLite they wait; changes of tags wait. The database must have
// been opened with a timeout for statements that read all articles.
//
// A snapshot of the database has each write with its counters or not at all, so what a
// counter lacks in it is what it lacks at any time, and can be added later.
func (s *Store) Recount(ctx context.Context) (repaired []Repair, err error) {
	err = s.db.WithTimeout(recountTimeout).InTx(ctx, func(tx *gorm.DB) error {
		// The lock keeps tags from being deleted, and another Recount from repairing the
		// same. It takes no snapshot: that would have to be older than the lock.
		if err := s.Lock(tx); err != nil {
			return err
		}
		is, was, err := s.bothCounts(tx)
		if err != nil {
			return err
		}
		repaired = nil
		missing := counts{}
		for counter := range merged(is, was) {
			if is[counter] != was[counter] {
				missing[counter] = is[counter] - was[counter]
				repaired = append(repaired, Repair{counter, was[counter], is[counter]})
			}
		}
		slices.SortFunc(repaired, func(a, b Repair) int { return compare(a.Counter, b.Counter) })
		return s.repair(tx, missing)
	})
	return repaired, err
}

func merged(a, b counts) counts {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// bothCounts returns the numbers of articles, and those that the counters have.
func (s *Store) bothCounts(tx *gorm.DB) (is, was counts, err error) {
	is, was = counts{}, counts{}
	for _, query := range []struct {
		into counts
		text string
	}{
		{is, "SELECT 0 AS tag_id, state, COUNT(*) AS value FROM %sarticle WHERE is_deleted = 0 GROUP BY state"},
		{is, "SELECT tag_id, article_state AS state, COUNT(*) AS value FROM %sarticle_tag GROUP BY tag_id, article_state"},
		{was, "SELECT tag_id, state, SUM(value) AS value FROM %sarticle_count GROUP BY tag_id, state"},
	} {
		var rows []countRow
		if err := tx.Raw(fmt.Sprintf(query.text, s.db.Table(""))).Scan(&rows).Error; err != nil {
			return nil, nil, err
		}
		for _, row := range rows {
			query.into[Counter{row.TagID, row.State}] = row.Value
		}
	}
	return is, was, nil
}

// repair adds what counters lack, some at a time.
func (s *Store) repair(tx *gorm.DB, missing counts) error {
	for chunk := range slices.Chunk(slices.SortedFunc(maps.Keys(missing), compare), chunkSize) {
		part := counts{}
		for _, counter := range chunk {
			part[counter] = missing[counter]
		}
		if err := s.countIn(tx, repairSlot, part); err != nil {
			return err
		}
	}
	return nil
}
