package requests

import (
	"time"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// OneFilter rejects every given filter but the first, and any order except that of ids
// together with a filter, because no index has both. order is the parameter order_by, or nil.
func OneFilter(order *string, given []string, reject func(field string, problem errcode.Detail)) {
	if len(given) == 0 {
		return
	}
	for _, name := range given[1:] {
		reject(name, errcode.Invalid(name, errcode.NotAllowed, errcode.Text{
			ZH:       name + "不能与" + given[0] + "同时使用",
			EN:       name + " can't be combined with " + given[0],
			ZHHantTW: name + "不能與" + given[0] + "同時使用",
		}))
	}
	if order != nil && *order != "id" && *order != "-id" {
		reject("order_by", errcode.Invalid("order_by", errcode.NotAllowed, errcode.Text{
			ZH:       "与" + given[0] + "同时使用时, order_by必须是id或-id",
			EN:       "order_by must be id or -id together with " + given[0],
			ZHHantTW: "與" + given[0] + "同時使用時, order_by必須是id或-id",
		}))
	}
}

// CheckTime calls reject if the text of a field is no time that StoredTime returns; see
// ParseTime. A nil text is valid.
func CheckTime(field string, text *string, reject func(field string, problem errcode.Detail)) {
	if text == nil {
		return
	}
	at, problem, ok := ParseTime(field, *text)
	switch year := at.UTC().Year(); {
	case !ok:
		reject(field, problem)
	case year < 1000 || year > 9999: // MySQL has no others
		reject(field, errcode.Invalid(field, errcode.OutOfRange, errcode.Text{
			ZH: field + "的年份必须在1000到9999之间", EN: field + " must be in the years 1000 to 9999", ZHHantTW: field + "的年份必須在1000到9999之間",
		}))
	}
}

// StoredTime returns a time that CheckTime has accepted, in UTC and with the precision of
// the databases. It returns nil for a nil text.
func StoredTime(text *string) *time.Time {
	if text == nil {
		return nil
	}
	at, _, ok := ParseTime("", *text)
	if !ok {
		return nil
	}
	at = at.UTC().Truncate(time.Millisecond)
	return &at
}
