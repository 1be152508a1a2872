package article

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/achilles-blog/achilles/pkg/batch"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
)

// setDefaults sets what a new article needs.
func (d *Draft) setDefaults() {
	if d.State == nil {
		d.State = new(Enabled)
	}
}

// prepare returns the drafts of new articles with their defaults and normalized, or what is
// wrong with them.
func (s *Service) prepare(drafts []Draft) ([]Draft, error) {
	drafts = slices.Clone(drafts)
	var wrong batch.Errors
	for i := range drafts {
		drafts[i].setDefaults()
		if err := drafts[i].normalize(s.maxContentBytes); err != nil {
			wrong = append(wrong, batch.Error{Index: i, Err: err})
		}
	}
	if wrong != nil {
		return nil, wrong
	}
	return drafts, nil
}

// checkTogether returns an error if articles have more content than one article may have:
// their transaction would take too long.
func (s *Service) checkTogether(drafts []Draft) error {
	size := 0
	for _, d := range drafts {
		if d.Content != nil {
			size += len(*d.Content)
		}
	}
	if size <= s.maxContentBytes {
		return nil
	}
	return &errcode.Error{Code: errcode.TooLarge, Details: []errcode.Detail{errcode.Invalid("articles", errcode.TooLong, errcode.Text{
		ZH:       fmt.Sprintf("articles的content总共不能超过%d字节; 请减少文章数量, 或使用 \"atomic\":false", s.maxContentBytes),
		EN:       fmt.Sprintf("the contents of articles must have at most %d bytes together: send fewer articles, or \"atomic\":false", s.maxContentBytes),
		ZHHantTW: fmt.Sprintf("articles的content總共不能超過%d位元組; 請減少文章數量, 或使用 \"atomic\":false", s.maxContentBytes),
	})}}
}

// CreateAll creates articles, all or none of them, and returns them without their contents.
// See Store.CreateAll.
func (s *Service) CreateAll(ctx context.Context, drafts []Draft, key idempotency.Key) (created []Article, replayed bool, err error) {
	if drafts, err = s.prepare(drafts); err != nil {
		return nil, false, err
	}
	if err := s.checkTogether(drafts); err != nil {
		return nil, false, err
	}
	err = s.references().Write(ctx, func() (err error) {
		if created, replayed, err = s.store.CreateAll(ctx, drafts, key); batch.IsUnavailable(err) {
			err = batch.Unfinished(err)
		}
		return err
	})
	var unknown *UnknownTagsError
	if errors.As(err, &unknown) {
		err = unknown.of(drafts)
	}
	return created, replayed, err
}

// of returns the error for each of the drafts that has an unknown tag.
func (e *UnknownTagsError) of(drafts []Draft) error {
	var errs batch.Errors
	for i, d := range drafts {
		if d.TagIDs == nil {
			continue
		}
		has := slices.DeleteFunc(slices.Clone(e.IDs), func(id uint64) bool { return !slices.Contains(*d.TagIDs, id) })
		if len(has) > 0 {
			errs = append(errs, batch.Error{Index: i, Err: (&UnknownTagsError{has}).coded()})
		}
	}
	return errs
}

// CreateEach creates articles, each on its own, and returns them without their contents; see
// batch.Each. It returns an error if the key is that of another request.
func (s *Service) CreateEach(ctx context.Context, items []batch.Item[Draft], key idempotency.Key) ([]batch.Result[Article], error) {
	if err := s.store.Claim(ctx, key); err != nil {
		return nil, err
	}
	references := s.references()
	return batch.Each(ctx, items, key, func(ctx context.Context, draft Draft, key idempotency.Key) (created Article, replayed bool, err error) {
		drafts, err := s.prepare([]Draft{draft})
		if err != nil {
			return Article{}, false, err
		}
		err = references.Write(ctx, func() error {
			all, again, err := s.store.CreateAll(ctx, drafts, key)
			if err == nil {
				created, replayed = all[0], again
			}
			return err
		})
		return created, replayed, coded(err)
	}), nil
}
