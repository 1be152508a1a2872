package store

import (
	"context"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// counts are the numbers of tags by state, or changes of them. They are in the row that
// every write locks anyway.
type counts struct {
	EnabledTags, DisabledTags int64
}

// plus returns the counts with n more tags of a state.
func (c counts) plus(state tag.State, n int64) counts {
	if state == tag.Enabled {
		c.EnabledTags += n
	} else {
		c.DisabledTags += n
	}
	return c
}

// of returns the number of tags with a state.
func (c counts) of(state tag.State) int64 {
	if state == tag.Enabled {
		return c.EnabledTags
	}
	return c.DisabledTags
}

// Repair is a counter that was wrong.
type Repair struct {
	State   tag.State
	Was, Is int64
}

// Recount counts all tags and repairs the counters that are wrong. Writes wait meanwhile.
func (s *Store) Recount(ctx context.Context) (repaired []Repair, err error) {
	err = s.db.InTx(ctx, func(tx *gorm.DB) error {
		var have sequenceRow
		if err := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Take(&have, 1).Error; err != nil {
			return err
		}
		var rows []struct {
			State tag.State
			Tags  int64
		}
		if err := tx.Model(&tagRow{}).Select("state, COUNT(*) AS tags").Group("state").Scan(&rows).Error; err != nil {
			return err
		}
		var is counts
		for _, row := range rows {
			is = is.plus(row.State, row.Tags)
		}
		repaired = nil
		for _, state := range []tag.State{tag.Disabled, tag.Enabled} {
			if is.of(state) != have.Counts.of(state) {
				repaired = append(repaired, Repair{state, have.Counts.of(state), is.of(state)})
			}
		}
		if repaired == nil {
			return nil
		}
		return tx.Model(&sequenceRow{ID: 1}).Updates(map[string]any{"enabled_tags": is.EnabledTags, "disabled_tags": is.DisabledTags}).Error
	})
	return repaired, err
}
