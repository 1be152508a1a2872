package store

import (
	"time"

	"gorm.io/gorm/schema"
	"gorm.io/plugin/soft_delete"

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
	State     uint8
}

// TableName puts the configured prefix in front.
func (tagRow) TableName(namer schema.Namer) string { return namer.TableName("tag") }

func (r tagRow) tag() tag.Tag {
	return tag.Tag{
		ID: r.ID, Name: r.Name, State: tag.State(r.State),
		CreatedAt: r.CreatedAt.UTC(), CreatedBy: r.CreatedBy, UpdatedAt: r.UpdatedAt.UTC(), UpdatedBy: r.UpdatedBy,
	}
}

type sequenceRow struct {
	ID    uint8 `gorm:"primaryKey"`
	Value uint64
	Epoch string
}

// TableName puts the configured prefix in front.
func (sequenceRow) TableName(namer schema.Namer) string { return namer.TableName("tag_sequence") }

type changeRow struct {
	Sequence  uint64 `gorm:"primaryKey;autoIncrement:false"`
	CreatedAt time.Time
	TagID     uint64
	Kind      string
	Name      string
	State     uint8
}

// TableName puts the configured prefix in front.
func (changeRow) TableName(namer schema.Namer) string { return namer.TableName("tag_change") }

func (r changeRow) change() tag.Change {
	return tag.Change{Sequence: r.Sequence, TagID: r.TagID, Kind: tag.Kind(r.Kind), Name: r.Name, State: tag.State(r.State)}
}
