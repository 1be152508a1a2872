// Package batch creates several objects for one request: all or none of them, or each on
// its own.
package batch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
)

// MaxItems is the maximum number of items of a batch.
const MaxItems = 100

// An Item is a draft of an object, or the error that says why it is none.
type Item[D any] struct {
	Draft D
	Err   error
}

// Items returns the items of drafts, of which some are invalid.
func Items[D any](drafts []D, invalid Errors) []Item[D] {
	items := make([]Item[D], 0, len(drafts))
	for _, d := range drafts {
		items = append(items, Item[D]{Draft: d})
	}
	for _, one := range invalid {
		items[one.Index].Err = one.Err
	}
	return items
}

// A Result is what became of an Item: an object, or an error.
type Result[T any] struct {
	Created T
	// Replayed reports that an earlier request with the same key has created the object.
	Replayed bool
	Err      error
}

// Each creates objects in their order, each on its own. It calls create with the key of the
// item, see idempotency.Key.Item.
//
// Once the service is unavailable, or two thirds of the time until the deadline of ctx have
// passed, Each begins no further item: the remaining ones get an errcode.Unavailable error, or
// errcode.ReadOnly if that is why. A repeat with the same key goes on there.
func Each[D, T any](ctx context.Context, items []Item[D], key idempotency.Key, create func(context.Context, D, idempotency.Key) (T, bool, error)) []Result[T] {
	results := make([]Result[T], len(items))
	began := time.Now()
	deadline, limited := ctx.Deadline()
	var stopped error
	for i, item := range items {
		result := &results[i]
		if limited && stopped == nil && time.Since(began) > deadline.Sub(began)/3*2 {
			stopped = notTried(context.DeadlineExceeded)
		}
		switch {
		case item.Err != nil:
			result.Err = item.Err
		case stopped != nil:
			result.Err = stopped
		default:
			result.Created, result.Replayed, result.Err = create(ctx, item.Draft, key.Item(i))
			switch {
			case hasCode(result.Err, errcode.ReadOnly):
				stopped = result.Err
			case ctx.Err() != nil || IsUnavailable(result.Err):
				stopped = notTried(result.Err)
			}
		}
	}
	return results
}

func notTried(cause error) error {
	return errcode.NewUnavailable(cause, errcode.Text{
		ZH:       "未处理, 请使用相同的 Idempotency-Key 重发该批量请求",
		EN:       "not tried; repeat the batch with the same Idempotency-Key",
		ZHHantTW: "未處理, 請使用相同的 Idempotency-Key 重送該批次請求",
	})
}

// Unfinished returns the error of a batch whose transaction failed, because the database is
// unavailable at the moment, or because it took too long.
func Unfinished(cause error) error {
	return errcode.NewUnavailable(cause, errcode.Text{
		ZH:       "该批量请求未能及时完成, 请使用相同的 Idempotency-Key 重发; 如果再次失败, 请减少对象数量, 或使用 \"atomic\":false",
		EN:       "the batch was not finished in time: repeat it with the same Idempotency-Key; if that fails, too, send fewer objects, or \"atomic\":false",
		ZHHantTW: "該批次請求未能及時完成, 請使用相同的 Idempotency-Key 重送; 如果再次失敗, 請減少物件數量, 或使用 \"atomic\":false",
	})
}

// IsUnavailable reports whether err says that the service is unavailable at the moment.
func IsUnavailable(err error) bool { return hasCode(err, errcode.Unavailable) }

func hasCode(err error, code errcode.Code) bool {
	var coded *errcode.Error
	return errors.As(err, &coded) && coded.Code == code
}

// Errors say what is wrong with which items, in the order of the items.
type Errors []Error

// Error is what is wrong with an item.
type Error struct {
	Index int
	Err   error
}

// Error returns the errors with the indexes of their items.
func (e Errors) Error() (text string) {
	for i, one := range e {
		if i > 0 {
			text += "; "
		}
		text += fmt.Sprintf("item %d: %v", one.Index, one.Err)
	}
	return text
}

// Unwrap returns the errors of the items.
func (e Errors) Unwrap() []error {
	errs := make([]error, 0, len(e))
	for _, one := range e {
		errs = append(errs, one.Err)
	}
	return errs
}

// Path returns the name of an item of a list, such as "articles[3]".
func Path(list string, index int) string { return fmt.Sprintf("%s[%d]", list, index) }

// Named returns an error whose details name the items of the list with the given name:
// "articles[3].title". If err has Errors, it has the code of the first one, and the details
// of all of this code. Another error is returned as it is.
func Named(list string, err error) error {
	var errs Errors
	if !errors.As(err, &errs) {
		return err
	}
	var all *errcode.Error
	for _, one := range errs {
		var coded *errcode.Error
		if !errors.As(one.Err, &coded) {
			return err
		}
		if all == nil {
			all = &errcode.Error{Code: coded.Code, RetryAfter: coded.RetryAfter, Cause: err}
		}
		if coded.Code == all.Code {
			all.Details = append(all.Details, coded.Within(Path(list, one.Index)).Details...)
		}
	}
	return all
}
