package requests

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// Parser is implemented by requests whose fields have formats of their own, such as lists
// separated by commas. Parse is called before the request is validated. It calls reject for
// each field that is invalid.
type Parser interface {
	Parse(reject func(field string, problem errcode.Detail))
}

// parse calls the Parse of a request that has one.
func (d *destination) parse() {
	if p, ok := d.dst.(Parser); ok {
		p.Parse(d.reject)
	}
}

// ParseIDs parses ids that are separated by commas, such as "1,2". It returns each once, in
// ascending order. If ok is false, problem says what is wrong.
func ParseIDs(field, text string, most int) (ids []uint64, problem errcode.Detail, ok bool) {
	parts := strings.Split(text, ",")
	for i, part := range parts {
		name := field
		if len(parts) > 1 {
			name = indexed(field, i)
		}
		id, problem, ok := parseID(name, part)
		if !ok {
			return nil, problem, false
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) > most {
		return nil, tooManyItems(field, most), false
	}
	return ids, problem, true
}

// parseID parses an id as decoding a field that is an integer does.
func parseID(name, text string) (id uint64, problem errcode.Detail, ok bool) {
	digits, isInteger := integer(text)
	switch {
	case !isInteger || digits[0] == '-':
		return 0, wrongType(name, reflect.TypeFor[uint64]()), false
	case digits == "0":
		return 0, errcode.Invalid(name, errcode.OutOfRange, errcode.Text{ZH: name + "最小只能为1", EN: name + " must be 1 or greater", ZHHantTW: name + "最小只能為1"}), false
	}
	id, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, outOfRange(name), false
	}
	return id, problem, true
}

// ParseTime parses a time as RFC 3339 has it, or a date, which is its first moment in UTC.
// A + of the time zone may be a space, which is what + means in a query.
func ParseTime(field, text string) (at time.Time, problem errcode.Detail, ok bool) {
	if i := len(text) - len(" 08:00"); i > 0 && text[i] == ' ' {
		text = text[:i] + "+" + text[i+1:]
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, problem, true
		}
	}
	const date, moment = "2026-01-02", "2026-01-02T03:04:05Z"
	return at, errcode.Invalid(field, errcode.Malformed, errcode.Text{
		ZH:       field + "必须是日期 (" + date + ") 或 RFC 3339 时间 (" + moment + ")",
		EN:       field + " must be a date (" + date + ") or a time as in RFC 3339 (" + moment + ")",
		ZHHantTW: field + "必須是日期 (" + date + ") 或 RFC 3339 時間 (" + moment + ")",
	}), false
}

// ParseNames parses names that are separated by commas. It returns each once, in the order of
// allowed.
func ParseNames(field, text string, allowed []string) (names []string, problem errcode.Detail, ok bool) {
	wanted := map[string]bool{}
	for name := range strings.SplitSeq(text, ",") {
		if !slices.Contains(allowed, name) {
			return nil, notAmong(field, name, allowed), false
		}
		wanted[name] = true
	}
	for _, name := range allowed {
		if wanted[name] {
			names = append(names, name)
		}
	}
	return names, problem, true
}

func notAmong(field, name string, allowed []string) errcode.Detail {
	quoted, list := shorten(name), strings.Join(allowed, ", ")
	return errcode.Invalid(field, errcode.NotAllowed, errcode.Text{
		ZH:       field + "包含未知的名称" + quoted + ", 只能是: " + list,
		EN:       field + " has the unknown name " + quoted + "; allowed are: " + list,
		ZHHantTW: field + "包含未知的名稱" + quoted + ", 只能是: " + list,
	})
}

// AfterEnd returns what is wrong with an interval that ends before it begins. from and to are
// the names of its fields.
func AfterEnd(from, to string) errcode.Detail {
	return errcode.Invalid(from, errcode.OutOfRange, errcode.Text{
		ZH: from + "不能晚于" + to, EN: from + " must not be after " + to, ZHHantTW: from + "不能晚於" + to,
	})
}

func tooManyItems(field string, most int) errcode.Detail {
	return errcode.Invalid(field, errcode.TooLong, errcode.Text{
		ZH:       fmt.Sprintf("%s最多只能包含%d项", field, most),
		EN:       fmt.Sprintf("%s must contain at most %d items", field, most),
		ZHHantTW: fmt.Sprintf("%s最多只能包含%d項", field, most),
	})
}
