package file

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// Field is the name of the part of a request that holds a file.
const Field = "file"

func refused(code errcode.Code, reason errcode.Reason, text errcode.Text) error {
	return &errcode.Error{Code: code, Details: []errcode.Detail{errcode.Invalid(Field, reason, text)}}
}

func tooLarge(name string, most int64) error {
	name = strconv.Quote(name)
	return refused(errcode.FileTooLarge, errcode.TooLong, errcode.Text{
		ZH:       fmt.Sprintf("文件%s超过%d字节", name, most),
		EN:       fmt.Sprintf("the file %s has more than %d bytes", name, most),
		ZHHantTW: fmt.Sprintf("檔案%s超過%d位元組", name, most),
	})
}

func empty(name string) error {
	name = strconv.Quote(name)
	return refused(errcode.InvalidParams, errcode.Required, errcode.Text{
		ZH: "文件" + name + "是空的", EN: "the file " + name + " is empty", ZHHantTW: "檔案" + name + "是空的",
	})
}

func typeRefused(name, detected string, allowed []string) error {
	name, list := strconv.Quote(name), strings.Join(allowed, ", ")
	return refused(errcode.FileTypeRefused, errcode.NotAllowed, errcode.Text{
		ZH:       fmt.Sprintf("文件%s的内容是%s, 只接受%s", name, detected, list),
		EN:       fmt.Sprintf("the content of the file %s is %s; only these are accepted: %s", name, detected, list),
		ZHHantTW: fmt.Sprintf("檔案%s的內容是%s, 只接受%s", name, detected, list),
	})
}

func malformed(name, detected string) error {
	name = strconv.Quote(name)
	return refused(errcode.InvalidParams, errcode.Malformed, errcode.Text{
		ZH:       fmt.Sprintf("文件%s不是完好的%s", name, detected),
		EN:       fmt.Sprintf("the file %s is not an intact %s", name, detected),
		ZHHantTW: fmt.Sprintf("檔案%s不是完好的%s", name, detected),
	})
}

func tooManyPixels(f File, most int64) error {
	name := strconv.Quote(f.Name)
	return refused(errcode.TooManyPixels, errcode.OutOfRange, errcode.Text{
		ZH:       fmt.Sprintf("图片%s有%d×%d像素, 最多%d", name, f.Width, f.Height, most),
		EN:       fmt.Sprintf("the image %s has %d × %d pixels; at most %d are accepted", name, f.Width, f.Height, most),
		ZHHantTW: fmt.Sprintf("圖片%s有%d×%d像素, 最多%d", name, f.Width, f.Height, most),
	})
}

// QuotaExceeded returns the error of a client that stores as much as it may.
func QuotaExceeded(quota Quota) error {
	return errcode.New(errcode.FileQuotaExceeded, errcode.Text{
		ZH:       fmt.Sprintf("每个客户端最多可存储%d个文件, 共%d字节; 请先删除不再需要的文件", quota.Files, quota.Bytes),
		EN:       fmt.Sprintf("a client may store %d files of together %d bytes; delete some that are not needed", quota.Files, quota.Bytes),
		ZHHantTW: fmt.Sprintf("每個用戶端最多可儲存%d個檔案, 共%d位元組; 請先刪除不再需要的檔案", quota.Files, quota.Bytes),
	})
}

// Article is an article that uses a file.
type Article struct {
	ID    uint64
	Title string
}

// InUse returns the error of a file that articles use. If more, there are further ones.
func InUse(articles []Article, more bool) error {
	err := errcode.New(errcode.FileInUse)
	for _, a := range articles {
		title := strconv.Quote(a.Title)
		err.Details = append(err.Details, errcode.Detail{Text: errcode.Text{
			ZH:       fmt.Sprintf("文章%d %s使用此文件作为封面", a.ID, title),
			EN:       fmt.Sprintf("the article %d %s has it as its cover", a.ID, title),
			ZHHantTW: fmt.Sprintf("文章%d %s使用此檔案作為封面", a.ID, title),
		}})
	}
	if more {
		err.Details = append(err.Details, errcode.Detail{Text: errcode.Text{ZH: "还有其他文章", EN: "and further articles", ZHHantTW: "還有其他文章"}})
	}
	return err
}
