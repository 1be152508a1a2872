// Package errcode declares the codes of the API, with their HTTP statuses and their
// messages in each language. It imports only the standard library, so that domain
// packages can use it without depending on HTTP packages.
package errcode

import (
	"maps"
	"net/http"
	"slices"
)

// Code is the number in the field "code" of a response. The meaning of a published
// number never changes.
type Code int

// Codes that every service uses.
const (
	Success              Code = 0
	Internal             Code = 10000000
	InvalidParams        Code = 10000001
	NotFound             Code = 10000002
	UnauthorizedApp      Code = 10000003
	UnauthorizedToken    Code = 10000004
	UnauthorizedExpired  Code = 10000005
	UnauthorizedGenerate Code = 10000006
	TooManyRequests      Code = 10000007
	Conflict             Code = 10000008
	PreconditionFailed   Code = 10000009
	TooLarge             Code = 10000010
	UnsupportedMediaType Code = 10000011
	MethodNotAllowed     Code = 10000012
	Forbidden            Code = 10000013
	Unavailable          Code = 10000014
	Timeout              Code = 10000015
	SlowRequest          Code = 10000016
	ClientClosedRequest  Code = 10000017
	ChangesTrimmed       Code = 10000018
	UnauthorizedInternal Code = 10000019
	KeyReused            Code = 10000020
	RequestInProgress    Code = 10000021
	ReadOnly             Code = 10000022
)

// Codes of the tag module.
const (
	ListTagsFailed  Code = 20010001
	CreateTagFailed Code = 20010002
	UpdateTagFailed Code = 20010003
	DeleteTagFailed Code = 20010004
	CountTagsFailed Code = 20010005
	GetTagFailed    Code = 20010006
	TagNotFound     Code = 20010007
	TagNameExists   Code = 20010008
)

// Codes of the article module.
const (
	GetArticleFailed    Code = 20020001
	ListArticlesFailed  Code = 20020002
	CreateArticleFailed Code = 20020003
	UpdateArticleFailed Code = 20020004
	DeleteArticleFailed Code = 20020005
	ArticleNotFound     Code = 20020006
	UnknownTags         Code = 20020007
	SlugTaken           Code = 20020008
	TooManyScheduled    Code = 20020009
)

// Codes of the upload module.
const (
	UploadFailed        Code = 20030001
	DownloadFailed      Code = 20030002
	ListFilesFailed     Code = 20030003
	DeleteFileFailed    Code = 20030004
	FileNotFound        Code = 20030005
	FileTypeRefused     Code = 20030006
	FileTooLarge        Code = 20030007
	TooManyPixels       Code = 20030008
	FileQuotaExceeded   Code = 20030009
	FileInUse           Code = 20030010
	UnknownFile         Code = 20030011
	FilesNotConfigured  Code = 20030012
	RangeNotSatisfiable Code = 20030013
)

type definition struct {
	status  int
	message Text
}

// definitions is read-only. The codes of a service that make new-service has made are in
// the file of its name.
var definitions = joined(shared)

// joined returns all entries of several maps.
func joined(all ...map[Code]definition) map[Code]definition {
	definitions := map[Code]definition{}
	for _, one := range all {
		maps.Copy(definitions, one)
	}
	return definitions
}

// shared has the codes of all services, and of those that are written by hand.
var shared = map[Code]definition{
	Success:              {http.StatusOK, Text{"成功", "success", "成功"}},
	Internal:             {http.StatusInternalServerError, Text{"服务内部错误", "internal server error", "服務內部錯誤"}},
	InvalidParams:        {http.StatusBadRequest, Text{"入参错误", "invalid parameters", "參數錯誤"}},
	NotFound:             {http.StatusNotFound, Text{"找不到", "not found", "找不到"}},
	UnauthorizedApp:      {http.StatusUnauthorized, Text{"鉴权失败, 找不到对应的 AppKey 和 AppSecret", "authentication failed: unknown app key or wrong app secret", "驗證失敗, 找不到對應的 AppKey 和 AppSecret"}},
	UnauthorizedToken:    {http.StatusUnauthorized, Text{"鉴权失败, Token 错误", "authentication failed: missing or invalid token", "驗證失敗, Token 錯誤"}},
	UnauthorizedExpired:  {http.StatusUnauthorized, Text{"鉴权失败, Token 超时", "authentication failed: the token has expired", "驗證失敗, Token 逾時"}},
	UnauthorizedGenerate: {http.StatusUnauthorized, Text{"鉴权失败, Token 生成失败", "authentication failed: the token could not be generated", "驗證失敗, Token 產生失敗"}},
	TooManyRequests:      {http.StatusTooManyRequests, Text{"请求过多", "too many requests", "請求過多"}},
	Conflict:             {http.StatusConflict, Text{"与现有数据冲突", "conflicts with existing data", "與現有資料衝突"}},
	PreconditionFailed:   {http.StatusPreconditionFailed, Text{"前提条件不满足", "precondition failed", "前提條件不符"}},
	TooLarge:             {http.StatusRequestEntityTooLarge, Text{"请求体过大", "request body too large", "請求內容過大"}},
	UnsupportedMediaType: {http.StatusUnsupportedMediaType, Text{"不支持的媒体类型", "unsupported media type", "不支援的媒體類型"}},
	MethodNotAllowed:     {http.StatusMethodNotAllowed, Text{"不允许的请求方法", "method not allowed", "不允許的請求方法"}},
	Forbidden:            {http.StatusForbidden, Text{"没有权限", "forbidden", "沒有權限"}},
	Unavailable:          {http.StatusServiceUnavailable, Text{"服务暂时不可用, 请稍后重试", "temporarily unavailable, try again later", "服務暫時無法使用, 請稍後再試"}},
	Timeout:              {http.StatusGatewayTimeout, Text{"处理超时", "the request took too long to process", "處理逾時"}},
	SlowRequest:          {http.StatusRequestTimeout, Text{"请求发送超时", "the request arrived too slowly", "請求傳送逾時"}},
	// 499 is nginx's status. It only appears in logs and metrics.
	ClientClosedRequest:  {499, Text{"客户端已断开连接", "the client closed the connection", "用戶端已中斷連線"}},
	ChangesTrimmed:       {http.StatusGone, Text{"变更记录已清理, 请重新开始", "the requested changes are no longer available, start over", "變更記錄已清理, 請重新開始"}},
	UnauthorizedInternal: {http.StatusUnauthorized, Text{"服务令牌错误", "missing or invalid service token", "服務權杖錯誤"}},
	KeyReused:            {http.StatusUnprocessableEntity, Text{"该 Idempotency-Key 已用于另一个请求", "this Idempotency-Key was used for another request", "此 Idempotency-Key 已用於另一個請求"}},
	RequestInProgress:    {http.StatusConflict, Text{"相同 Idempotency-Key 的请求仍在处理中, 请稍后重试", "a request with this Idempotency-Key is still in progress, try again later", "相同 Idempotency-Key 的請求仍在處理中, 請稍後再試"}},
	ReadOnly:             {http.StatusServiceUnavailable, Text{"服务暂时只读, 请稍后重试", "read-only at the moment, try again later", "服務暫時唯讀, 請稍後再試"}},

	ListTagsFailed:  {http.StatusInternalServerError, Text{"获取标签列表失败", "listing tags failed", "取得標籤列表失敗"}},
	CreateTagFailed: {http.StatusInternalServerError, Text{"创建标签失败", "creating the tag failed", "建立標籤失敗"}},
	UpdateTagFailed: {http.StatusInternalServerError, Text{"更新标签失败", "updating the tag failed", "更新標籤失敗"}},
	DeleteTagFailed: {http.StatusInternalServerError, Text{"删除标签失败", "deleting the tag failed", "刪除標籤失敗"}},
	CountTagsFailed: {http.StatusInternalServerError, Text{"统计标签失败", "counting tags failed", "統計標籤失敗"}},
	GetTagFailed:    {http.StatusInternalServerError, Text{"获取标签失败", "getting the tag failed", "取得標籤失敗"}},
	TagNotFound:     {http.StatusNotFound, Text{"标签不存在", "no such tag", "標籤不存在"}},
	TagNameExists:   {http.StatusConflict, Text{"标签名称已存在", "a tag with this name already exists", "標籤名稱已存在"}},

	GetArticleFailed:    {http.StatusInternalServerError, Text{"获取单个文章失败", "getting the article failed", "取得單篇文章失敗"}},
	ListArticlesFailed:  {http.StatusInternalServerError, Text{"获取多个文章失败", "listing articles failed", "取得多篇文章失敗"}},
	CreateArticleFailed: {http.StatusInternalServerError, Text{"创建文章失败", "creating the article failed", "建立文章失敗"}},
	UpdateArticleFailed: {http.StatusInternalServerError, Text{"更新文章失败", "updating the article failed", "更新文章失敗"}},
	DeleteArticleFailed: {http.StatusInternalServerError, Text{"删除文章失败", "deleting the article failed", "刪除文章失敗"}},
	ArticleNotFound:     {http.StatusNotFound, Text{"文章不存在", "no such article", "文章不存在"}},
	UnknownTags:         {http.StatusBadRequest, Text{"标签不存在", "unknown tags", "標籤不存在"}},
	SlugTaken:           {http.StatusConflict, Text{"slug 已被其他文章使用", "another article has this slug", "slug 已被其他文章使用"}},
	TooManyScheduled:    {http.StatusConflict, Text{"定时发布的文章过多，请待其中一些发布后再试", "too many articles are scheduled: try again when some of them are published", "定時發布的文章過多，請待其中一些發布後再試"}},

	UploadFailed:        {http.StatusInternalServerError, Text{"上传文件失败", "upload failed", "上傳檔案失敗"}},
	DownloadFailed:      {http.StatusInternalServerError, Text{"下载文件失败", "download failed", "下載檔案失敗"}},
	ListFilesFailed:     {http.StatusInternalServerError, Text{"获取文件列表失败", "listing files failed", "取得檔案列表失敗"}},
	DeleteFileFailed:    {http.StatusInternalServerError, Text{"删除文件失败", "deleting the file failed", "刪除檔案失敗"}},
	FileNotFound:        {http.StatusNotFound, Text{"文件不存在", "no such file", "檔案不存在"}},
	FileTypeRefused:     {http.StatusUnsupportedMediaType, Text{"不接受此类型的文件", "files of this type are not accepted", "不接受此類型的檔案"}},
	FileTooLarge:        {http.StatusRequestEntityTooLarge, Text{"文件过大", "the file is too large", "檔案過大"}},
	TooManyPixels:       {http.StatusUnprocessableEntity, Text{"图片像素过多", "the image has too many pixels", "圖片像素過多"}},
	FileQuotaExceeded:   {http.StatusConflict, Text{"文件存储配额已用完", "the quota for files is used up", "檔案儲存配額已用完"}},
	FileInUse:           {http.StatusConflict, Text{"文件正被文章使用", "articles use the file", "檔案正被文章使用"}},
	UnknownFile:         {http.StatusBadRequest, Text{"引用的文件不存在", "unknown file", "引用的檔案不存在"}},
	FilesNotConfigured:  {http.StatusNotImplemented, Text{"未配置文件存储", "no storage of files is configured", "未設定檔案儲存"}},
	RangeNotSatisfiable: {http.StatusRequestedRangeNotSatisfiable, Text{"文件没有此范围", "the file has no such range", "檔案沒有此範圍"}},
}

// All returns all codes in ascending order.
func All() []Code {
	codes := make([]Code, 0, len(definitions))
	for c := range definitions {
		codes = append(codes, c)
	}
	slices.Sort(codes)
	return codes
}

// Status returns the HTTP status of the code. An undeclared code has the status of
// Internal.
func (c Code) Status() int { return c.definition().status }

// Message returns the message of the code in the given language (see Text.In).
func (c Code) Message(locale string) string { return c.definition().message.In(locale) }

func (c Code) definition() definition {
	if d, ok := definitions[c]; ok {
		return d
	}
	return definitions[Internal]
}
