package store

import (
	"time"

	"gorm.io/gorm/schema"
	"gorm.io/plugin/soft_delete"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

type tagRow struct {
	ID        uint64 `gorm:"primaryKey"`
	CreatedAt time.Time
	CreatedBy string
	UpdatedAt time.Time
	UpdatedBy string
	IsDeleted soft_delete.DeletedAt `gorm:"softDelete:flag"`
	Name      string
	State     tag.State
	Revision  uint64
}

// TableName implements gorm's TablerWithNamer.
func (tagRow) TableName(namer schema.Namer) string { return namer.TableName("tag") }

func (r tagRow) tag() tag.Tag {
	return tag.Tag{
		ID: r.ID, Name: r.Name, State: r.State, Revision: r.Revision,
		CreatedAt: r.CreatedAt.UTC(), CreatedBy: r.CreatedBy, UpdatedAt: r.UpdatedAt.UTC(), UpdatedBy: r.UpdatedBy,
	}
}

// apply changes the row by the draft and returns the columns that have changed.
func (r *tagRow) apply(draft tag.Draft) (columns []string) {
	database.Assign(&columns, "name", &r.Name, draft.Name)
	database.Assign(&columns, "state", &r.State, draft.State)
	return columns
}

// touch records who has changed the row, and returns the columns of that.
func (r *tagRow) touch(actor string) []string {
	r.Revision++
	r.UpdatedBy = actor
	return []string{"revision", "updated_at", "updated_by"}
}

type sequenceRow struct {
	ID     uint8 `gorm:"primaryKey"`
	Value  uint64
	Epoch  string
	Counts counts `gorm:"embedded"`
}

// TableName implements gorm's TablerWithNamer.
func (sequenceRow) TableName(namer schema.Namer) string { return namer.TableName("tag_sequence") }
