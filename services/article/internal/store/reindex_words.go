package store

import (
	"context"
	"database/sql"
	"fmt"
	"hash/maphash"
	"maps"
	"math"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/article/internal/search"
)

// reindexLimits bounds what ReindexWords holds in memory, and in a transaction.
type reindexLimits struct {
	// ids is the number of ids whose entries are compared by their sums at a time. Each time
	// all entries are read.
	ids uint64
	// entries is the number of entries of one read, and collected that of those that may be
	// wrong and are collected in one reading of all entries.
	entries, collected int
	// bytes is the size of the texts that are read at a time, and locked that of articles that are
	// locked in one transaction.
	bytes, locked int64
}

func defaultReindexLimits() reindexLimits {
	return reindexLimits{ids: 1_000_000, entries: 20_000, collected: 1_000_000, bytes: 4 << 20, locked: 32 << 10}
}

// ReindexWords compares the index of words with the articles, adds the entries that are
// missing or have another weight, and removes those that are wrong. Writes go on in the
// meantime: those of the same articles wait for moments. It calls progress with what it has
// done, again and again.
//
// It reads all entries and adds up hashes of those of each article. Only articles for which
// the sum isn't that of their words are looked at in detail, so what it takes in memory
// doesn't depend on the number of entries.
func (s *Store) ReindexWords(ctx context.Context, progress func(string)) (added, removed int64, err error) {
	w := &wordReindexer{Store: s, ctx: ctx, progress: progress, seed: maphash.MakeSeed(), limits: s.reindex}
	var largest uint64
	if err := s.db.Read(ctx, func(db *gorm.DB) error {
		return db.Raw("SELECT COALESCE(MAX(id), 0) FROM " + s.db.Table("article")).Scan(&largest).Error
	}); err != nil {
		return 0, 0, err
	}
	for first := uint64(0); ; first += w.limits.ids {
		end := uint64(math.MaxInt64)
		last := largest < first+w.limits.ids
		if !last {
			end = first + w.limits.ids
		}
		if err := w.reindex(first, end); err != nil || last {
			return w.added, w.removed, err
		}
	}
}

type wordReindexer struct {
	*Store
	ctx            context.Context // of the call of ReindexWords
	progress       func(string)
	seed           maphash.Seed
	limits         reindexLimits
	added, removed int64
}

// entrySum has the number of the entries of an article, and the sum of their hashes.
type entrySum struct {
	n   int
	sum uint64
}

func (e entrySum) with(hash uint64, weight uint8) entrySum {
	const odd = 0x9e3779b97f4a7c15
	return entrySum{e.n + 1, e.sum + (hash^uint64(weight))*odd}
}

// reindex compares the articles with ids from first to end, and their entries.
func (w *wordReindexer) reindex(first, end uint64) error {
	sums := map[uint64]entrySum{}
	read := 0
	if err := w.scan(first, end, func(word []byte, id uint64, weight uint8) {
		sums[id] = sums[id].with(maphash.Bytes(w.seed, word), weight)
		if read++; read%w.limits.entries == 0 {
			w.progress(fmt.Sprintf("index of words: read %d entries", read))
		}
	}); err != nil {
		return err
	}
	suspects := map[uint64]int{} // to the numbers of their entries
	compared := 0
	err := w.articles(first, end, func(rows []articleRow) error {
		var missing []articleRow
		for _, row := range rows {
			if n := sums[row.ID].n; w.sum(row) != sums[row.ID] {
				missing = append(missing, row)
				if n > 0 {
					suspects[row.ID] = n
				}
			}
			delete(sums, row.ID)
		}
		compared += len(rows)
		w.progress(fmt.Sprintf("index of words: compared %d articles, added %d entries", compared, w.added))
		return w.addMissing(missing)
	})
	if err != nil {
		return err
	}
	for id, sum := range sums { // of articles that don't exist
		suspects[id] = sum.n
	}
	return w.removeWrong(suspects)
}

// sum returns the sum of the entries that an article should have.
func (w *wordReindexer) sum(row articleRow) (sum entrySum) {
	for _, word := range row.words() {
		sum = sum.with(maphash.String(w.seed, word.Text), word.Weight)
	}
	return sum
}

// scan calls entry for each entry of articles with ids from first to end.
func (w *wordReindexer) scan(first, end uint64, entry func(word []byte, id uint64, weight uint8)) error {
	var last struct {
		word []byte
		id   uint64
	}
	var word sql.RawBytes
	var id uint64
	var weight uint8
	read := func(condition string, values ...any) (n int, err error) {
		values = append(values, first, end, w.limits.entries)
		err = w.db.Query(w.ctx, "SELECT word, article_id, weight FROM "+w.db.Table("article_word")+" WHERE "+condition+
			" AND article_id >= ? AND article_id < ? ORDER BY word, article_id LIMIT ?", values, func(rows *sql.Rows) error {
			err := rows.Scan(&word, &id, &weight)
			if err == nil {
				n++
				entry(word, id, weight)
				last.word, last.id = append(last.word[:0], word...), id
			}
			return err
		})
		return n, err
	}
	last.word = []byte{}
	for {
		n, err := read("word = ? AND article_id > ?", slices.Clone(last.word), last.id)
		if err == nil && n < w.limits.entries {
			n, err = read("word > ?", slices.Clone(last.word))
			if err == nil && n == 0 {
				return nil
			}
		}
		if err != nil {
			return err
		}
	}
}

// articles calls compare with the articles with ids from first to end that are not deleted,
// some at a time.
func (w *wordReindexer) articles(first, end uint64, compare func([]articleRow) error) error {
	for {
		var sizes []struct {
			ID   uint64
			Size int64
		}
		if err := w.db.Read(w.ctx, func(db *gorm.DB) error {
			return db.Raw("SELECT id, "+contentSize+" AS size FROM "+w.db.Table("article")+
				" WHERE is_deleted = 0 AND id >= ? AND id < ? ORDER BY id LIMIT ?", first, end, chunkSize).Scan(&sizes).Error
		}); err != nil || len(sizes) == 0 {
			return err
		}
		var ids []uint64
		var size int64
		for _, a := range sizes {
			if size += a.Size; len(ids) > 0 && size > w.limits.bytes {
				break
			}
			ids = append(ids, a.ID)
		}
		rows, err := w.texts(w.ctx, w.db, ids)
		if err == nil {
			err = compare(rows)
		}
		if err != nil {
			return err
		}
		first = ids[len(ids)-1] + 1
	}
}

// texts returns the texts of those of the articles that are not deleted.
func (w *wordReindexer) texts(ctx context.Context, db *database.DB, ids []uint64) (rows []articleRow, err error) {
	err = db.Read(ctx, func(db *gorm.DB) error {
		return db.Select("id", "title", "desc", "content").Where("id IN ?", ids).Order("id").Find(&rows).Error
	})
	return rows, err
}

// addMissing sets the words of the articles, some articles at a time, whatever they are now.
func (w *wordReindexer) addMissing(rows []articleRow) error {
	for len(rows) > 0 {
		var ids []uint64
		for size := int64(0); len(ids) < len(rows) && (len(ids) == 0 || size < w.limits.locked); {
			size += int64(len(rows[len(ids)].Content))
			ids = append(ids, rows[len(ids)].ID)
		}
		rows = rows[len(ids):]
		if err := w.locked(ids, func(tx *gorm.DB, row articleRow) (added, removed int64, err error) {
			added, err = w.addWords(tx, row.ID, row.words())
			return added, 0, err
		}); err != nil {
			return err
		}
	}
	return nil
}

// locked calls change for each of the articles that is not deleted, in a transaction that
// locks them, and counts the entries that it changes.
func (w *wordReindexer) locked(ids []uint64, change func(tx *gorm.DB, row articleRow) (added, removed int64, err error)) error {
	var added, removed int64
	err := w.db.InTx(w.ctx, func(tx *gorm.DB) error {
		added, removed = 0, 0
		var rows []articleRow
		if err := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Select("id", "title", "desc", "content").
			Where("id IN ?", ids).Order("id").Find(&rows).Error; err != nil {
			return err
		}
		for _, row := range rows {
			more, less, err := change(tx, row)
			if err != nil {
				return err
			}
			added, removed = added+more, removed+less
		}
		return nil
	})
	if err == nil {
		w.added, w.removed = w.added+added, w.removed+removed
	}
	return err
}

// addWords inserts the words of an article that are missing, corrects the weights of
// others, and returns the number of both.
func (s *Store) addWords(tx *gorm.DB, id uint64, words []search.Word) (added int64, err error) {
	for chunk := range slices.Chunk(words, chunkSize) {
		n, err := s.insertWords(tx, id, chunk, keepWeight)
		if err != nil {
			return 0, err
		}
		added += n
		if int(n) == len(chunk) {
			continue
		}
		wrong, err := s.otherWeights(tx, id, chunk)
		if err != nil {
			return 0, err
		}
		added += int64(len(wrong))
		if err := s.setWords(tx, id, wrong); err != nil {
			return 0, err
		}
	}
	return added, nil
}

// otherWeights returns those of the words that the index has with other weights.
func (s *Store) otherWeights(tx *gorm.DB, id uint64, words []search.Word) (wrong []search.Word, err error) {
	weights := make(map[string]uint8, len(words))
	values := []any{id}
	for _, word := range words {
		weights[word.Text] = word.Weight
		values = append(values, []byte(word.Text))
	}
	query := "SELECT word, weight FROM " + s.db.Table("article_word") + " WHERE article_id = ? AND word IN (?" + strings.Repeat(", ?", len(words)-1) + ") ORDER BY word"
	return wrong, s.db.QueryIn(tx, query, values, func(rows *sql.Rows) error {
		var word []byte
		var weight uint8
		err := rows.Scan(&word, &weight)
		if err == nil && weight != weights[string(word)] {
			wrong = append(wrong, search.Word{Text: string(word), Weight: weights[string(word)]})
		}
		return err
	})
}

// removeWrong removes the entries of the articles that are not words of them. suspects has the
// number of entries of each.
func (w *wordReindexer) removeWrong(suspects map[uint64]int) error {
	ids := slices.Sorted(maps.Keys(suspects))
	for len(ids) > 0 {
		n, collected := 0, 0
		for ; n < len(ids) && (n == 0 || collected+suspects[ids[n]] <= w.limits.collected); n++ {
			collected += suspects[ids[n]]
		}
		if err := w.removeWrongOf(ids[:n]); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

func (w *wordReindexer) removeWrongOf(ids []uint64) error {
	entries := make(map[uint64][]string, len(ids))
	for _, id := range ids {
		entries[id] = nil
	}
	if err := w.scan(ids[0], ids[len(ids)-1]+1, func(word []byte, id uint64, _ uint8) {
		if words, ok := entries[id]; ok {
			entries[id] = append(words, string(word))
		}
	}); err != nil {
		return err
	}
	for _, id := range ids {
		if err := w.removeOthers(id, entries[id]); err != nil {
			return err
		}
		w.progress(fmt.Sprintf("index of words: removed %d entries", w.removed))
	}
	return nil
}

// removeOthers removes those of the entries of an article that are not words of it.
func (w *wordReindexer) removeOthers(id uint64, entries []string) error {
	exists := false
	if err := w.locked([]uint64{id}, func(tx *gorm.DB, row articleRow) (_, removed int64, err error) {
		exists = true
		words := map[string]bool{}
		for _, word := range row.words() {
			words[word.Text] = true
		}
		removed, err = w.deleteWords(tx, id, slices.DeleteFunc(slices.Clone(entries), func(entry string) bool { return words[entry] }))
		return 0, removed, err
	}); err != nil || exists {
		return err
	}
	// An article that doesn't exist never will again.
	var removed int64
	err := w.db.InTx(w.ctx, func(tx *gorm.DB) (err error) {
		removed, err = w.deleteWords(tx, id, entries)
		return err
	})
	if err == nil {
		w.removed += removed
	}
	return err
}
