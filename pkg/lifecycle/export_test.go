package lifecycle

var (
	CloseWhenDraining = closeWhenDraining
	ErrNotUp          = errNotUp
)
