package store

import (
	"slices"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/changefeed/follow"
	"github.com/achilles-blog/achilles/pkg/changefeed/readmodel"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

// chunkSize is the maximum number of rows in one statement.
const chunkSize = readmodel.ChunkSize

var _ follow.ReadModel[tagfeed.Change, tagfeed.Snapshot] = (*Store)(nil)

// removeTags deletes tags with their counters. It deletes their associations first, in chunks: the foreign
// key would delete them too, but in one statement, which could time out for a tag
// with very many articles.
func removeTags(tx *gorm.DB, tags []uint64) error {
	var associations []uint64
	if err := tx.Model(&articleTagRow{}).Where("tag_id IN ?", tags).Pluck("id", &associations).Error; err != nil {
		return err
	}
	for part := range slices.Chunk(associations, chunkSize) {
		if err := tx.Delete(&articleTagRow{}, part).Error; err != nil {
			return err
		}
	}
	if err := tx.Delete(&tagProjectionRow{}, tags).Error; err != nil {
		return err
	}
	// No article can get the tags any more, so nobody changes their counters.
	return tx.Where("tag_id IN ?", tags).Delete(&countRow{}).Error
}
