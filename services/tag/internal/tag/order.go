package tag

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/achilles-blog/achilles/pkg/cursor"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

// Values of Order.By.
const (
	ByID        = "id"
	ByName      = "name"
	ByCreatedAt = "created_at"
)

// MaxCounted is the number of tags up to which those with a prefix are counted.
const MaxCounted = 1000

// Order is the order of a list. Tags that are equal in it are in the order of their ids,
// ascending or descending as well.
type Order struct {
	By         string // "" is ByID
	Descending bool
}

// ParseOrder returns the order that a text such as name or -name stands for.
func ParseOrder(text string) Order {
	by, descending := strings.CutPrefix(text, "-")
	return Order{By: by, Descending: descending}
}

// String returns the text that ParseOrder parses.
func (o Order) String() string {
	by := cmp.Or(o.By, ByID)
	if o.Descending {
		return "-" + by
	}
	return by
}

// Compare returns a negative number if a comes before b, and a positive one if it comes
// after it.
func (o Order) Compare(a, b Tag) int {
	result := 0
	switch o.By {
	case ByName:
		result = strings.Compare(a.Name, b.Name)
	case ByCreatedAt:
		result = a.CreatedAt.Compare(b.CreatedAt)
	}
	result = cmp.Or(result, cmp.Compare(a.ID, b.ID))
	if o.Descending {
		return -result
	}
	return result
}

// Position returns the position of a tag in a list with this order.
func (o Order) Position(t Tag) cursor.Position {
	position := cursor.Position{ID: t.ID}
	switch o.By {
	case ByName:
		position.Key = t.Name
	case ByCreatedAt:
		position.Key = cursor.TimeKey(t.CreatedAt)
	}
	return position
}

// TooManyToSort returns the error of a list in an order in which it can't be read.
func TooManyToSort() error {
	return &errcode.Error{Code: errcode.InvalidParams, Details: []errcode.Detail{errcode.Invalid("order_by", errcode.NotAllowed, errcode.Text{
		ZH:       fmt.Sprintf("order_by必须是name或-name, 因为有超过%d个标签以此prefix开头", MaxCounted),
		EN:       fmt.Sprintf("order_by must be name or -name, because more than %d tags begin with this prefix", MaxCounted),
		ZHHantTW: fmt.Sprintf("order_by必須是name或-name, 因為有超過%d個標籤以此prefix開頭", MaxCounted),
	})}}
}
