package requests

import (
	"bytes"
	"reflect"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/batch"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

// maxBatchValues is the maximum number of values in the body of a batch. Each object has at
// most maxValues.
const maxBatchValues = 10_000

// Batch decodes the JSON body of a request that creates several objects into the struct that
// dst points to, of which one field is a slice of structs: that many objects, from 1 to
// batch.MaxItems. It returns what is wrong with which of them, and otherwise does what Body
// does.
func (b *Binder) Batch(c *gin.Context, dst any) (invalid batch.Errors, err error) {
	if _, err := mediaType(c.Request.Header, onlyJSON, jsonType); err != nil {
		return nil, err
	}
	body, err := readBody(c)
	if err != nil {
		return nil, err
	}
	body = bytes.TrimLeft(bytes.TrimPrefix(body, []byte("\ufeff")), " \t\r\n")
	if err := checkJSON(body, maxBatchValues); err != nil {
		return nil, err
	}
	d := newDestination(dst)
	d.decodeMembers(body)
	if err := b.validate(c, d); err != nil {
		return nil, err
	}
	for i, item := range d.items {
		if err := b.check(item); err != nil {
			invalid = append(invalid, batch.Error{Index: i, Err: err})
		}
	}
	return invalid, nil
}

// isObjects reports whether a field is the slice of the objects of a batch.
func isObjects(f reflect.StructField) bool {
	return f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct
}

// decodeObjects decodes the objects of a batch.
func (d *destination) decodeObjects(name string, value []byte, to reflect.Value) {
	if value[0] != '[' {
		d.reject(name, wrongType(name, to.Type()))
		return
	}
	objects := make([][]byte, 0, batch.MaxItems)
	for _, object := range elements(value) {
		if len(objects) == batch.MaxItems {
			d.reject(name, tooManyItems(name, batch.MaxItems))
			return
		}
		objects = append(objects, object)
	}
	if len(objects) == 0 {
		d.reject(name, noItems(name))
		return
	}
	to.Set(reflect.MakeSlice(to.Type(), len(objects), len(objects)))
	for i, object := range objects {
		d.items = append(d.items, d.decodeObject(object, to.Index(i)))
	}
}

// decodeObject decodes an object of a batch. Names that mean nothing are ignored as those of
// the batch.
func (d *destination) decodeObject(object []byte, to reflect.Value) *destination {
	item := newDestination(to.Addr().Interface())
	item.ignored = d.ignored
	err := checkBounds(object, maxValues)
	switch {
	case object[0] != '{':
		item.failed = &errcode.Error{Code: errcode.InvalidParams, Details: []errcode.Detail{errcode.Invalid("", errcode.InvalidType, itemNoObject)}}
	case err != nil:
		item.failed = err
	default:
		item.decodeMembers(object)
	}
	d.ignored = item.ignored
	return item
}

func noItems(field string) errcode.Detail {
	return errcode.Invalid(field, errcode.TooShort, errcode.Text{
		ZH:       field + "至少必须包含1项",
		EN:       field + " must contain at least 1 item",
		ZHHantTW: field + "至少必須包含1項",
	})
}
