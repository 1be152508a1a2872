package store

import (
	"slices"
	"strconv"
	"strings"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/article/internal/search"
)

// index changes the entries of an article in the indexes of titles and of words from those
// of one row to those of another one. A row is the zero value if the article doesn't
// exist.
func (s *Store) index(tx *gorm.DB, id uint64, before, after articleRow) error {
	if err := s.indexTitle(tx, id, before.Title, after.Title); err != nil {
		return err
	}
	if before.Title == after.Title && before.Desc == after.Desc && before.Content == after.Content {
		return nil
	}
	removed, set := changedWords(before.words(), after.words())
	if _, err := s.deleteWords(tx, id, removed); err != nil {
		return err
	}
	return s.setWords(tx, id, set)
}

func (r *articleRow) words() []search.Word { return search.Words(r.Title, r.Desc, r.Content) }

// changedWords returns the texts of the words to be removed and the words to be set, so that
// one list of words becomes another one. All are in ascending order.
func changedWords(before, after []search.Word) (removed []string, set []search.Word) {
	for len(before) > 0 || len(after) > 0 {
		switch {
		case len(after) == 0 || len(before) > 0 && before[0].Text < after[0].Text:
			removed = append(removed, before[0].Text)
			before = before[1:]
		case len(before) == 0 || after[0].Text < before[0].Text:
			set = append(set, after[0])
			after = after[1:]
		default:
			if before[0].Weight != after[0].Weight {
				set = append(set, after[0])
			}
			before, after = before[1:], after[1:]
		}
	}
	return removed, set
}

// onConflict says what an insert does with words that the index has already.
type onConflict int

const (
	setWeight onConflict = iota
	keepWeight
)

// setWords inserts words of an article, or changes their weights.
func (s *Store) setWords(tx *gorm.DB, id uint64, words []search.Word) error {
	for chunk := range slices.Chunk(words, chunkSize) {
		if _, err := s.insertWords(tx, id, chunk, setWeight); err != nil {
			return err
		}
	}
	return nil
}

// insertWords inserts words of an article by one statement. With keepWeight, it returns the
// number of those that were not in the index. The words are one value, which is cheaper than a
// value for each of them.
func (s *Store) insertWords(tx *gorm.DB, id uint64, words []search.Word, conflict onConflict) (added int64, err error) {
	insert, rows, update := "INSERT INTO ", wordRows, " ON DUPLICATE KEY UPDATE weight = VALUES(weight)"
	if s.db.Dialect() == database.SQLite {
		rows, update = wordRowsSQLite, " ON CONFLICT (word, article_id) DO UPDATE SET weight = excluded.weight"
	}
	if conflict == keepWeight {
		insert, update = s.insertIgnore(), ""
	}
	done, err := s.db.Exec(tx, insert+s.db.Table("article_word")+" (word, article_id, weight) "+rows+update, id, wordsJSON(words))
	if err != nil {
		return 0, err
	}
	return done.RowsAffected()
}

// The rows of the words in a JSON array, see wordsJSON. The first value is the id of the article.
const (
	wordRows = "SELECT j.word, ?, j.weight FROM JSON_TABLE(?, '$[*]' COLUMNS " +
		"(word varchar(32) CHARACTER SET utf8mb4 PATH '$[0]', weight tinyint unsigned PATH '$[1]')) AS j"
	wordRowsSQLite = "SELECT CAST(value ->> 0 AS BLOB), ?, value ->> 1 FROM json_each(?) WHERE TRUE"
)

// wordsJSON returns [["word",weight],…]. Words have no characters that JSON escapes.
func wordsJSON(words []search.Word) string {
	text := make([]byte, 0, 16*len(words)+2)
	for _, word := range words {
		text = append(append(append(text, ",[\""...), word.Text...), "\","...)
		text = append(strconv.AppendUint(text, uint64(word.Weight), 10), ']')
	}
	text[0] = '['
	return string(append(text, ']'))
}

// deleteWords deletes words of an article, and returns the number of those that existed.
func (s *Store) deleteWords(tx *gorm.DB, id uint64, words []string) (deleted int64, err error) {
	for chunk := range slices.Chunk(words, chunkSize) {
		values := make([]any, 0, len(chunk)+1)
		values = append(values, id)
		for _, word := range chunk {
			values = append(values, []byte(word))
		}
		statement := "DELETE FROM " + s.db.Table("article_word") + " WHERE article_id = ? AND word IN (?" + strings.Repeat(", ?", len(chunk)-1) + ")"
		done, err := s.db.Exec(tx, statement, values...)
		if err != nil {
			return 0, err
		}
		n, err := done.RowsAffected()
		if err != nil {
			return 0, err
		}
		deleted += n
	}
	return deleted, nil
}
