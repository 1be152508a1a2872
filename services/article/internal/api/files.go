package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/cursor"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/pkg/memory"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/services/article/internal/file"
)

// FileService is the part of file.Service that the handlers use.
type FileService interface {
	Spool(ctx context.Context, name string, content io.Reader) (*file.Spooled, error)
	Create(ctx context.Context, client string, spooled []*file.Spooled, key idempotency.Key) (created []file.File, replayed bool, err error)
	Get(ctx context.Context, id uint64) (file.File, error)
	Open(ctx context.Context, f file.File) io.ReadSeekCloser
	List(ctx context.Context, filter file.Filter, page file.Page) (*file.List, error)
	Delete(ctx context.Context, id uint64) error
}

// Files holds the dependencies of the handlers of files.
type Files struct {
	// Service is nil if no storage is configured: then all routes answer with
	// errcode.FilesNotConfigured.
	Service FileService
	Binder  *requests.Binder
	Paging  settings.Value[requests.Paging]
	Memory  *responses.Memory
	// Access is the middleware of every route of the API; see service.Service.
	Access []gin.HandlerFunc
	// Client identifies the client of a request.
	Client func(*gin.Context) string
	// Spool bounds the disk space of files that are being received.
	Spool *memory.Budget
	// RequestBytes is the maximum size of the body of an upload.
	RequestBytes int64
	// RequestFiles is the maximum number of files in an upload.
	RequestFiles int
	// Timeout bounds an upload and a download.
	Timeout time.Duration
	// Uploads and Downloads are the maximum numbers of them at once.
	Uploads, Downloads int
}

// File is an uploaded file in a response.
type File struct {
	FileID uint64 `json:"file_id" example:"1"`
	// as the client named it, without its path
	Name string `json:"name" example:"cover.png"`
	// in bytes
	Size int64 `json:"size" example:"48213"`
	// media type of the content, whatever its name says
	Type string `json:"type" example:"image/png"`
	// of the content, in hexadecimal
	SHA256 string `json:"sha256" example:"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"`
	// of an image, in pixels
	Width  *int `json:"width,omitempty" example:"1200"`
	Height *int `json:"height,omitempty" example:"630"`
	// where it can be downloaded
	URL       string    `json:"url" example:"/api/v1/file/download/1"`
	CreatedAt time.Time `json:"created_at" example:"2026-01-02T03:04:05.678Z"`
	// app key of the client that uploaded it
	CreatedBy string `json:"created_by" example:"demo"`
}

// Uploaded is the data of a response to an upload.
type Uploaded struct {
	// in the order of the request
	Files []File `json:"files"`
}

func toFile(c *gin.Context, f file.File) File {
	shown := File{
		FileID: f.ID, Name: f.Name, Size: f.Size, Type: f.Type, SHA256: f.Digest.String(),
		URL: responses.PathPrefix(c) + DownloadPath(f.ID), CreatedAt: f.CreatedAt, CreatedBy: f.CreatedBy,
	}
	if f.Width > 0 {
		shown.Width, shown.Height = &f.Width, &f.Height
	}
	return shown
}

const filesPath = "/api/v1/file"

const downloadPath = filesPath + "/download/"

// DownloadPath returns the path of the content of a file.
func DownloadPath(id uint64) string { return downloadPath + strconv.FormatUint(id, 10) }

// downloadPaths matches paths of contents of files, also behind a prefix.
var downloadPaths = regexp.MustCompile(`(?:/[\w.~-]+)*` + downloadPath + `\d+`)

// DownloadPaths returns the paths of contents of files that a text has.
func DownloadPaths(text string) []string { return downloadPaths.FindAllString(text, -1) }

// ParseDownloadPath returns the file whose content has a path, which may have a prefix; ok is false if
// it is none of a file.
func ParseDownloadPath(path string) (id uint64, ok bool) {
	text := path[strings.LastIndex(path, "/")+1:]
	id, err := strconv.ParseUint(text, 10, 64)
	return id, err == nil && strings.HasSuffix(path, DownloadPath(id))
}

// Register adds the routes of files.
func (f *Files) Register(routes gin.IRouter) {
	files := routes.Group(filesPath, f.Access...)
	files.Use(f.configured)
	uploads := newTransfers(f.Uploads, uploadShare, "Files.MaxUploads", f.Client)
	downloads := newTransfers(f.Downloads, downloadShare, "Files.MaxDownloads", f.Client)
	write := files.Group("", auth.RequireScope(auth.ScopeWrite))
	write.POST("/upload", uploads.limit, server.Transfer(f.Timeout), f.upload)
	write.DELETE("/:file_id", f.delete)
	files.GET("/download/:file_id", downloads.limit, server.Transfer(f.Timeout), f.download)
	files.HEAD("/download/:file_id", f.download)
	files.GET("/list", f.list)
	files.HEAD("/list", f.list)
}

func (f *Files) configured(c *gin.Context) {
	if f.Service == nil {
		responses.Error(c, errcode.New(errcode.FilesNotConfigured, errcode.Text{
			ZH:       "此服务没有文件存储 (设置 Files.URL)",
			EN:       "this service has no storage of files: its operator can set Files.URL",
			ZHHantTW: "此服務沒有檔案儲存 (設定 Files.URL)",
		}))
	}
}

// fileID parses the id in the path.
func fileID(c *gin.Context) (uint64, error) {
	return requests.ParseID(c.Param("file_id"), errcode.FileNotFound)
}

// uploadMeaning is what an upload means, for its Idempotency-Key.
type uploadMeaning struct {
	Files string `json:"files"`
}

func meaningOf(spooled []*file.Spooled) uploadMeaning {
	var text strings.Builder
	for _, one := range spooled {
		_, _ = fmt.Fprintf(&text, "%s %q\n", one.Digest, one.Name)
	}
	return uploadMeaning{text.String()}
}

// upload stores files.
//
//	@Summary	Upload files, all or none
//	@Description	The content decides on the type of a file, not its name; JPEG, PNG, GIF, WebP, PDF and plain text are accepted unless configured otherwise. A file has 10 MiB at most unless configured otherwise.
//	@ID	uploadFiles
//	@Tags		files
//	@Accept		multipart/form-data
//	@Produce	json
//	@Param		file	formData	file	true	"a file; the part may be repeated, for at most 10 files"
//	@Success	201				{object}	responses.Envelope[Uploaded]	"stored"
//	@Failure	400	{object}	responses.Problem	"malformed, empty or unknown parts (10000001)"
//	@Failure	409	{object}	responses.Problem	"the client's quota is used up (20030009)"
//	@Failure	413	{object}	responses.Problem	"a file is too large (20030007)"
//	@Failure	415	{object}	responses.Problem	"a file of this type is not accepted (20030006)"
//	@Failure	422	{object}	responses.Problem	"an image has too many pixels (20030008)"
//	@Failure	501	{object}	responses.Problem	"no storage of files is configured (20030012)"
//	@Security	AppToken
//	@Router		/api/v1/file/upload [post]
func (f *Files) upload(c *gin.Context) {
	parts, err := f.parts(c)
	if err != nil {
		responses.Error(c, err)
		return
	}
	reserved, err := f.reserve(c)
	if err != nil {
		responses.Error(c, err)
		return
	}
	defer reserved.Release()
	spooled, err := f.receive(c, parts)
	defer func() {
		for _, one := range spooled {
			_ = one.Close()
		}
	}()
	if err != nil {
		responses.ErrorOr(c, err, errcode.UploadFailed)
		return
	}
	client := auth.PrincipalOf(c).AppKey
	key, err := requests.IdempotencyKey(c, client, meaningOf(spooled))
	if err != nil {
		responses.Error(c, err)
		return
	}
	created, replayed, err := f.Service.Create(c.Request.Context(), client, spooled, key)
	if err != nil {
		responses.ErrorOr(c, err, errcode.UploadFailed)
		return
	}
	answer := Uploaded{Files: make([]File, 0, len(created))}
	for _, one := range created {
		answer.Files = append(answer.Files, toFile(c, one))
	}
	responses.CreatedAt(c, DownloadPath(created[0].ID), answer, replayed)
}

// reserve reserves disk space for the files of an upload.
func (f *Files) reserve(c *gin.Context) (*memory.Reservation, error) {
	size := c.Request.ContentLength
	if size < 0 {
		size = f.RequestBytes
	}
	reserved, err := f.Spool.Reserve(c.Request.Context(), f.Client(c), size, func() {})
	if errors.Is(err, memory.ErrInUse) {
		err = errcode.NewBusy(err, errcode.Text{
			ZH:       "同时上传的文件过多 (设置 Files.SpoolBytes)",
			EN:       "too many bytes are being uploaded at the same time (setting Files.SpoolBytes)",
			ZHHantTW: "同時上傳的檔案過多 (設定 Files.SpoolBytes)",
		})
	}
	return reserved, err
}

// FilesFilter selects the files of a list.
type FilesFilter struct {
	CreatedBy *string `json:"created_by" validate:"omitempty,notblank,max=64"`
	After     *string `json:"after"`
	// any text, see requests.Paging
	Page     string `json:"page"`
	PageSize string `json:"page_size"`
}

// cursors returns the list that the cursors of the request belong to.
func (r *FilesFilter) cursors() cursor.List {
	return cursor.List{Route: filesPath + "/list", Order: "-file_id", Filters: requests.Filters(r, "after", "page", "page_size")}
}

// fileSize is the size in bytes that is reserved for each file of a page.
const fileSize = 3 << 10

// FilePageMemory returns the memory in bytes that a page of files takes.
func FilePageMemory(size int) int64 { return fileSize * int64(size) }

// list lists files.
//
//	@Summary	List files, newest first
//	@ID	listFiles
//	@Tags		files
//	@Produce	json
//	@Param		created_by	query		string						false	"uploaded by the client with this app key"	maxLength(64)
//	@Success	200			{object}	responses.ListEnvelope[File]	"a page; the pager echoes what was used"
//	@Failure	400	{object}	responses.Problem	"invalid filter (10000001)"
//	@Failure	501	{object}	responses.Problem	"no storage of files is configured (20030012)"
//	@Security	AppToken
//	@Router		/api/v1/file/list [get]
//	@Router		/api/v1/file/list [head]
func (f *Files) list(c *gin.Context) {
	if !auth.PrincipalOf(c).Authenticated() {
		auth.Unauthorized(c)
		return
	}
	var request FilesFilter
	if err := f.Binder.Query(c, &request); err != nil {
		responses.Error(c, err)
		return
	}
	page, err := f.Paging.In(c.Request.Context()).ParseAfter(request.Page, request.PageSize, request.After, request.cursors())
	if err != nil {
		responses.Error(c, err)
		return
	}
	reserved, err := f.Memory.Reserve(c, FilePageMemory(page.Size))
	if err != nil {
		responses.Error(c, err)
		return
	}
	defer reserved.Release()
	filter := file.Filter{}
	if request.CreatedBy != nil {
		filter.CreatedBy = *request.CreatedBy
	}
	found, err := f.Service.List(c.Request.Context(), filter, file.Page{After: page.After.ID, Offset: page.Offset(), Limit: page.Size})
	if err != nil {
		responses.ErrorOr(c, err, errcode.ListFilesFailed)
		return
	}
	f.answerList(c, &request, page, found, reserved)
}

func (f *Files) answerList(c *gin.Context, request *FilesFilter, page requests.Page, found *file.List, reserved *responses.Reservation) {
	pager := responses.Pager{Page: page.Number, PageSize: page.Size, TotalRows: found.Total, TotalRelation: responses.Exact}
	if found.More {
		pager.Next = request.cursors().New(cursor.Position{ID: found.Files[len(found.Files)-1].ID})
	}
	list := make([]File, 0, len(found.Files))
	versions := make([]string, 0, len(found.Files))
	for _, one := range found.Files {
		list = append(list, toFile(c, one))
		versions = append(versions, strconv.FormatUint(one.ID, 10)) // a file never changes
	}
	responses.NewEncoder[File]().List(c, responses.PageETag(responses.ShapeOf[File](), pager, versions), list, pager, reserved)
}

// delete deletes a file.
//
//	@Summary	Delete a file that no article uses as its cover
//	@ID	deleteFile
//	@Tags		files
//	@Produce	json
//	@Param		file_id		path		integer								true	"id of the file"	minimum(1)
//	@Success	200		{object}	responses.Envelope[responses.Empty]	"deleted"
//	@Failure	400	{object}	responses.Problem	"invalid id (10000001)"
//	@Failure	404	{object}	responses.Problem	"no such file (20030005)"
//	@Failure	409	{object}	responses.Problem	"articles use the file (20030010)"
//	@Failure	501	{object}	responses.Problem	"no storage of files is configured (20030012)"
//	@Security	AppToken
//	@Router		/api/v1/file/{file_id} [delete]
func (f *Files) delete(c *gin.Context) {
	id, err := fileID(c)
	if err != nil {
		responses.Error(c, err)
		return
	}
	err = f.checkMatch(c, id)
	if err == nil {
		err = f.Service.Delete(c.Request.Context(), id)
	}
	if err != nil {
		responses.ErrorOr(c, err, errcode.DeleteFileFailed)
		return
	}
	responses.OK(c, responses.Empty{}, nil)
}

// checkMatch checks the header If-Match of a request to delete a file.
func (f *Files) checkMatch(c *gin.Context, id uint64) error {
	if len(c.Request.Header["If-Match"]) == 0 {
		return nil
	}
	found, err := f.Service.Get(c.Request.Context(), id)
	if err != nil {
		return err
	}
	return responses.RequireMatch(c, entityTag(found))
}
