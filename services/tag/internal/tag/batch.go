package tag

import (
	"context"
	"slices"

	"github.com/achilles-blog/achilles/pkg/batch"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
)

// setDefaults sets what a new tag needs.
func (d *Draft) setDefaults() {
	if d.State == nil {
		d.State = new(Enabled)
	}
}

// CreateAll creates tags, all or none of them. See Store.CreateAll.
func (s *Service) CreateAll(ctx context.Context, drafts []Draft, key idempotency.Key) (created []Tag, replayed bool, err error) {
	drafts = slices.Clone(drafts)
	for i := range drafts {
		drafts[i].setDefaults()
	}
	created, replayed, err = s.store.CreateAll(ctx, drafts, key)
	if batch.IsUnavailable(err) {
		err = batch.Unfinished(err)
	}
	return created, replayed, s.notify(err)
}

// CreateEach creates tags, each on its own; see batch.Each. It returns an error if the key is
// that of another request.
func (s *Service) CreateEach(ctx context.Context, items []batch.Item[Draft], key idempotency.Key) ([]batch.Result[Tag], error) {
	if err := s.store.Claim(ctx, key); err != nil {
		return nil, err
	}
	return batch.Each(ctx, items, key, s.Create), nil
}

// NameExists returns the error of a name that another tag has.
func NameExists(cause error) error {
	return &errcode.Error{Code: errcode.TagNameExists, Cause: cause, Details: []errcode.Detail{
		errcode.Invalid("name", errcode.Taken, errcode.Text{
			ZH: "name已被其他标签使用", EN: "another tag has this name", ZHHantTW: "name已被其他標籤使用",
		}),
	}}
}
