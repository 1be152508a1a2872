package database_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strconv"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

func TestClassifyByNumber(t *testing.T) {
	sentinels := map[error][]uint16{
		database.ErrDuplicate:  {1022, 1062, 1586},
		database.ErrForeignKey: {1216, 1217, 1451, 1452},
	}
	for want, numbers := range sentinels {
		for _, number := range numbers {
			cause := fmt.Errorf("outer: %w", &mysql.MySQLError{Number: number, Message: "no such table"})
			err := database.Classify(cause)
			require.ErrorIs(t, err, want)
			require.ErrorIs(t, err, cause, "it wraps the cause")
			require.Equal(t, err, database.Classify(err), "classified twice")
		}
	}
	for _, number := range []uint16{1040, 1203, 1226, 1205, 1213, 1969, 3024, 1317, 1053, 1927, 1047, 1021, 1114} {
		requireUnavailable(t, database.Classify(&mysql.MySQLError{Number: number, Message: "Duplicate entry"}))
	}
	for _, number := range []uint16{1290, 1792, 1836} {
		err := database.Classify(&mysql.MySQLError{Number: number, Message: "no such table"})
		requireReadOnly(t, err)
		require.ErrorContains(t, err, strconv.Itoa(int(number)))
		require.Equal(t, err, database.Classify(err), "classified twice")
	}
	for _, number := range []uint16{1064, 1146, 1054, 1406} {
		err := error(&mysql.MySQLError{Number: number, Message: "Duplicate entry, deadlock, gone away"})
		require.Equal(t, err, database.Classify(err))
	}
}

func TestClassifyWithoutANumber(t *testing.T) {
	coded := errcode.New(errcode.TagNotFound)
	unknown := errors.New("Error 1062: Duplicate entry; UNIQUE constraint failed; database is locked")
	for _, same := range []error{nil, coded, fmt.Errorf("outer: %w", coded), unknown, context.Canceled, context.DeadlineExceeded} {
		require.Equal(t, same, database.Classify(same))
	}
	for _, gone := range []error{driver.ErrBadConn, mysql.ErrInvalidConn, sql.ErrConnDone, &net.OpError{Op: "dial", Err: errors.New("refused")}} {
		err := database.Classify(gone)
		requireUnavailable(t, err)
		require.ErrorIs(t, err, gone)
		require.Equal(t, err, database.Classify(err))
	}
	for _, missing := range []error{gorm.ErrRecordNotFound, sql.ErrNoRows} {
		require.ErrorIs(t, database.Classify(missing), database.ErrNotFound)
	}
}

func TestErrorsOfTheServer(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := withNotes(t, cfg)
		require.NoError(t, insert(t.Context(), db, "one"))
		require.ErrorIs(t, insert(t.Context(), db, "one"), database.ErrDuplicate)
		require.ErrorIs(t, db.InTx(t.Context(), func(tx *gorm.DB) error {
			return tx.Create(&note{ID: 1, Name: "same id"}).Error
		}), database.ErrDuplicate)
		require.ErrorIs(t, db.InTx(t.Context(), func(tx *gorm.DB) error {
			return tx.Create(&remark{NoteID: 99}).Error
		}), database.ErrForeignKey)
		require.NoError(t, db.InTx(t.Context(), func(tx *gorm.DB) error { return tx.Create(&remark{NoteID: 1}).Error }))
		require.ErrorIs(t, db.InTx(t.Context(), func(tx *gorm.DB) error {
			return tx.Exec("DELETE FROM blog_note WHERE id = 1").Error
		}), database.ErrForeignKey)
		require.ErrorIs(t, db.Read(t.Context(), func(tx *gorm.DB) error {
			return tx.First(&note{}, 99).Error
		}), database.ErrNotFound)

		var coded *errcode.Error
		err := db.Read(t.Context(), func(tx *gorm.DB) error { return tx.Exec("SELECT nonsense FROM blog_note").Error })
		require.Error(t, err)
		require.False(t, errors.As(err, &coded), "a mistake of ours is no outage: %v", err)
	})
}

// Errors of fn are returned unchanged, even if they wrap a driver's error.
func TestErrorsOfTheUnitOfWork(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := withNotes(t, cfg)
		require.NoError(t, insert(t.Context(), db, "one"))
		err := db.InTx(t.Context(), func(tx *gorm.DB) error {
			err := database.Classify(tx.Create(&note{Name: "one"}).Error)
			if errors.Is(err, database.ErrDuplicate) {
				return errcode.Wrap(errcode.TagNameExists, err)
			}
			return err
		})
		var coded *errcode.Error
		require.ErrorAs(t, err, &coded)
		require.Equal(t, errcode.TagNameExists, coded.Code)
	})
}
