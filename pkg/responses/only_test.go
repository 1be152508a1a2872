package responses

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// An Encoder of some fields encodes these, in the order of the type, in objects, in envelopes
// and in lists.
func TestEncoderOnly(t *testing.T) {
	type part struct {
		Title string `json:"title"`
	}
	type object struct {
		ID    int     `json:"id"`
		Title string  `json:"title"`
		Note  *string `json:"note,omitempty"`
		Part  part    `json:"part"`
	}
	some := NewEncoder[object]().Only([]string{"part", "id", "note"})
	one := object{ID: 7, Title: "t", Part: part{"p"}}
	require.JSONEq(t, `{"code":0,"msg":"m","data":{"id":7,"part":{"title":"p"}}}`, string(some.enveloped("m", one, 0, 1000)))
	require.Equal(t, `{"code":0,"msg":"m","list":[{"id":7,"part":{"title":"p"}}],"pager":{"page_size":1,"total_rows":1,"total_relation":"eq"}}`,
		string(some.page("m", []object{one}, Pager{PageSize: 1, TotalRows: 1, TotalRelation: Exact}, 0, 1000)))
	require.NotEqual(t, some.fields, NewEncoder[object]().Only([]string{"id"}).fields)
	require.NotEqual(t, ShapeOf[object](), ShapeOf[object]().Only([]string{"id"}))
	require.NotEqual(t, ShapeOf[object]().Only([]string{"id", "note"}), ShapeOf[object]().Only([]string{"id"}))
}
