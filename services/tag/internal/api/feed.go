package api

import (
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// snapshotSize is the size in bytes that is reserved for a snapshot: few are read at
// once.
const snapshotSize = 16 << 20

// defaultChanges is the default of the parameter limit.
const defaultChanges = 100

// ChangesRequest is the query for changes.
type ChangesRequest struct {
	After uint64 `json:"after"`
	Limit int    `json:"limit" validate:"min=0,max=1000"`
	Wait  int    `json:"wait" validate:"min=0,max=10"`
}

// Change is an entry of the feed.
type Change struct {
	Sequence uint64 `json:"sequence" example:"7"`
	TagID    uint64 `json:"tag_id" example:"1"`
	Kind     string `json:"kind" enums:"put,delete" example:"put"`
	Name     string `json:"name" example:"Kubernetes"`
	State    int    `json:"state" example:"1" enums:"0,1"`
}

// Changes is a part of the feed.
type Changes struct {
	Epoch   string   `json:"epoch" example:"0f6d5c2e-8c1f-11ef-b8a1-0242ac120002"`
	Changes []Change `json:"changes"`
	Last    uint64   `json:"last" example:"7"`
}

// listChanges reads the feed.
//
//	@Summary		Read the feed of changes
//	@ID				listChanges
//	@Description	Changes after the offset `after`, in order and without gaps. If there are none, waits up to `wait` seconds for one. `last` is the newest offset. Offsets belong to one `epoch`.
//	@Tags			internal
//	@Produce		json
//	@Security		ServiceToken
//	@Param			after	query		integer						false	"offset of the reader"		minimum(0)
//	@Param			limit	query		integer						false	"maximum number of changes; 0 means 100"	minimum(0)	maximum(1000)
//	@Param			wait	query		integer						false	"maximum wait in seconds"		minimum(0)	maximum(10)
//	@Success		200		{object}	responses.Envelope[Changes]	"the changes"
//	@Failure		400	{object}	responses.Problem	"invalid (10000001)"
//	@Failure		401	{object}	responses.Problem	"not the token that the services share (10000019)"
//	@Failure		429	{object}	responses.Problem	"too many requests with a wrong token (10000007)"
//	@Failure		410	{object}	responses.Problem	"start over from the snapshot (10000018)"
//	@Router			/internal/v1/tag-changes [get]
//	@Router			/internal/v1/tag-changes [head]
func (a *API) listChanges(c *gin.Context) {
	var request ChangesRequest
	if err := a.Binder.Query(c, &request); err != nil {
		responses.Error(c, err)
		return
	}
	limit := request.Limit
	if limit == 0 {
		limit = defaultChanges
	}
	wait := time.Duration(request.Wait) * time.Second
	if deadline, ok := c.Request.Context().Deadline(); ok {
		// The wait ends before the request times out.
		wait = min(wait, time.Until(deadline)*2/3)
	}
	reserved, err := a.Memory.Reserve(c, int64(limit)*tagSize)
	if err != nil {
		responses.Error(c, err)
		return
	}
	defer reserved.Release()
	found, err := a.Tags.Changes(c.Request.Context(), request.After, limit, wait)
	if err != nil {
		responses.Error(c, err)
		return
	}
	reserved.Resize(int64(len(found.Changes)) * tagSize)
	responses.OK(c, newChanges(found), reserved)
}

func newChanges(found tag.Changes) Changes {
	changes := Changes{Epoch: found.Epoch, Last: found.Last, Changes: make([]Change, 0, len(found.Changes))}
	for _, change := range found.Changes {
		changes.Changes = append(changes.Changes, Change{
			Sequence: change.Sequence, TagID: change.TagID, Kind: string(change.Kind),
			Name: change.Name, State: int(change.State),
		})
	}
	return changes
}

// SnapshotTag is a tag in a snapshot.
type SnapshotTag struct {
	ID    uint64 `json:"id" example:"1"`
	Name  string `json:"name" example:"Kubernetes"`
	State int    `json:"state" example:"1" enums:"0,1"`
}

// Snapshot holds all tags as of one offset in the feed.
type Snapshot struct {
	Epoch    string        `json:"epoch" example:"0f6d5c2e-8c1f-11ef-b8a1-0242ac120002"`
	Sequence uint64        `json:"sequence" example:"7"`
	Tags     []SnapshotTag `json:"tags"`
}

// getSnapshot returns all tags.
//
//	@Summary		Get all tags as of one offset in the feed
//	@ID				getSnapshot
//	@Description	A reader begins with the snapshot, and loads it again if changes that it lacks have been removed.
//	@Tags			internal
//	@Produce		json
//	@Security		ServiceToken
//	@Success		200	{object}	responses.Envelope[Snapshot]	"the snapshot"
//	@Failure		401	{object}	responses.Problem	"not the token that the services share (10000019)"
//	@Failure		429	{object}	responses.Problem	"too many requests with a wrong token (10000007)"
//	@Router			/internal/v1/tag-snapshot [get]
//	@Router			/internal/v1/tag-snapshot [head]
func (a *API) getSnapshot(c *gin.Context) {
	reserved, err := a.Memory.Reserve(c, snapshotSize)
	if err != nil {
		responses.Error(c, err)
		return
	}
	defer reserved.Release()
	found, err := a.Tags.Snapshot(c.Request.Context())
	if err != nil {
		responses.Error(c, err)
		return
	}
	snapshot := Snapshot{Epoch: found.Epoch, Sequence: found.Sequence, Tags: make([]SnapshotTag, 0, len(found.Tags))}
	size := int64(0)
	for _, t := range found.Tags {
		size += int64(256 + len(t.Name))
		snapshot.Tags = append(snapshot.Tags, SnapshotTag{ID: t.ID, Name: t.Name, State: int(t.State)})
	}
	reserved.Resize(size)
	responses.OK(c, snapshot, reserved)
}
