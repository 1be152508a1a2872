package requests

import (
	"fmt"
	"reflect"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

var (
	bodyUnreadable = errcode.Text{ZH: "无法读取请求体", EN: "the body could not be read", ZHHantTW: "無法讀取請求內容"}
	malformedJSON  = errcode.Text{ZH: "请求体不是合法的 JSON", EN: "the body is not valid JSON", ZHHantTW: "請求內容不是合法的 JSON"}
	notAnObject    = errcode.Text{ZH: "请求体必须是一个 JSON 对象", EN: "the body must be a JSON object", ZHHantTW: "請求內容必須是一個 JSON 物件"}
	itemNoObject   = errcode.Text{ZH: "必须是一个 JSON 对象", EN: "it must be a JSON object", ZHHantTW: "必須是一個 JSON 物件"}
	otherMediaType = errcode.Text{
		ZH:       "Content-Type 必须是 application/json 或 application/x-www-form-urlencoded, 字符集为 UTF-8",
		EN:       "Content-Type must be application/json or application/x-www-form-urlencoded, in UTF-8",
		ZHHantTW: "Content-Type 必須是 application/json 或 application/x-www-form-urlencoded, 字元集為 UTF-8",
	}
	onlyJSON = errcode.Text{
		ZH:       "Content-Type 必须是 application/json, 字符集为 UTF-8",
		EN:       "Content-Type must be application/json, in UTF-8",
		ZHHantTW: "Content-Type 必須是 application/json, 字元集為 UTF-8",
	}
	noMergePatch = errcode.Text{
		ZH:       "Content-Type 必须是 application/merge-patch+json 或 application/json, 字符集为 UTF-8",
		EN:       "Content-Type must be application/merge-patch+json or application/json, in UTF-8",
		ZHHantTW: "Content-Type 必須是 application/merge-patch+json 或 application/json, 字元集為 UTF-8",
	}
	compressed = errcode.Text{ZH: "不支持压缩的请求体 (Content-Encoding)", EN: "a compressed body (Content-Encoding) is not supported", ZHHantTW: "不支援壓縮的請求內容 (Content-Encoding)"}
	notUTF8    = errcode.Text{ZH: "内容必须是 UTF-8 编码", EN: "the content must be UTF-8", ZHHantTW: "內容必須是 UTF-8 編碼"}
	tooDeep    = errcode.Text{
		ZH:       fmt.Sprintf("JSON 最多只能嵌套%d层", maxDepth),
		EN:       fmt.Sprintf("the JSON must be nested at most %d levels deep", maxDepth),
		ZHHantTW: fmt.Sprintf("JSON 最多只能巢狀%d層", maxDepth),
	}
	tooManyBodies = errcode.Text{
		ZH:       "同时上传的大请求体过多",
		EN:       "too many large bodies are being sent at the same time",
		ZHHantTW: "同時上傳的大型請求內容過多",
	}
)

func tooManyValues(most int) errcode.Text {
	return errcode.Text{
		ZH:       fmt.Sprintf("内容最多只能包含%d个值", most),
		EN:       fmt.Sprintf("the content must have at most %d values", most),
		ZHHantTW: fmt.Sprintf("內容最多只能包含%d個值", most),
	}
}

// TooLarge returns the error of a body that exceeds a limit in bytes.
func TooLarge(limit int64) error {
	return errcode.New(errcode.TooLarge, errcode.Text{
		ZH:       fmt.Sprintf("请求体不能超过%d字节", limit),
		EN:       fmt.Sprintf("the body must be at most %d bytes", limit),
		ZHHantTW: fmt.Sprintf("請求內容不能超過%d位元組", limit),
	})
}

// tooDeepPage returns the error of a page that begins after more rows than the setting
// App.MaxOffset allows; last is the last page of the size.
func tooDeepPage(maxOffset, last, size int) error {
	return &errcode.Error{Code: errcode.InvalidParams, Details: []errcode.Detail{errcode.Invalid("page", errcode.OutOfRange, errcode.Text{
		ZH:       fmt.Sprintf("page不能大于%d (page_size为%d时): 一页之前最多%d行 (App.MaxOffset)", last, size, maxOffset),
		EN:       fmt.Sprintf("page must be at most %d with a page_size of %d: a page begins after at most %d rows (App.MaxOffset)", last, size, maxOffset),
		ZHHantTW: fmt.Sprintf("page不能大於%d (page_size為%d時): 一頁之前最多%d列 (App.MaxOffset)", last, size, maxOffset),
	})}}
}

// pageWithAfter returns the error of a request that has both page and after.
func pageWithAfter() error {
	return &errcode.Error{Code: errcode.InvalidParams, Details: []errcode.Detail{errcode.Invalid("page", errcode.NotAllowed, errcode.Text{
		ZH:       "page不能与after同时使用",
		EN:       "page must not be sent together with after",
		ZHHantTW: "page不能與after同時使用",
	})}}
}

func malformedSlug(name string) errcode.Text {
	return errcode.Text{
		ZH:       name + "只能包含小写字母 a-z、数字和单个连字符, 最多100个字符, 例如 rolling-restarts",
		EN:       name + " must be at most 100 lower-case letters a-z, digits and single hyphens between them, such as rolling-restarts",
		ZHHantTW: name + "只能包含小寫字母 a-z、數字和單個連字號, 最多100個字元, 例如 rolling-restarts",
	}
}

func halfSurrogate(escape string) errcode.Text {
	return errcode.Text{
		ZH:       "JSON 中的 " + escape + " 只是半个代理对, 不是字符",
		EN:       escape + " in the JSON is half of a surrogate pair, not a character",
		ZHHantTW: "JSON 中的 " + escape + " 只是半個代理對, 不是字元",
	}
}

func notNull(name string) errcode.Detail {
	return errcode.Invalid(name, errcode.Required,
		errcode.Text{ZH: name + "不能为 null", EN: name + " must not be null", ZHHantTW: name + "不能為 null"})
}

func outOfRange(name string) errcode.Detail {
	return errcode.Invalid(name, errcode.OutOfRange, errcode.Text{
		ZH:       name + "超出 64 位整数的范围",
		EN:       name + " is beyond the range of 64-bit integers",
		ZHHantTW: name + "超出 64 位元整數的範圍",
	})
}

func onlyOnce(name string) errcode.Detail {
	return errcode.Invalid(name, errcode.Duplicate,
		errcode.Text{ZH: name + "只能出现一次", EN: name + " must be given only once", ZHHantTW: name + "只能出現一次"})
}

func wrongType(name string, want reflect.Type) errcode.Detail {
	kind := kindName(pointedTo(want).Kind())
	return errcode.Invalid(name, errcode.InvalidType, errcode.Text{
		ZH:       name + "必须是" + kind.ZH,
		EN:       name + " must be " + kind.EN,
		ZHHantTW: name + "必須是" + kind.ZHHantTW,
	})
}

func kindName(k reflect.Kind) errcode.Text {
	switch k {
	case reflect.String:
		return errcode.Text{ZH: "字符串", EN: "a string", ZHHantTW: "字串"}
	case reflect.Bool:
		return errcode.Text{ZH: "true 或 false", EN: "true or false", ZHHantTW: "true 或 false"}
	case reflect.Slice:
		return errcode.Text{ZH: "数组", EN: "an array", ZHHantTW: "陣列"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return errcode.Text{ZH: "正整数", EN: "a positive integer", ZHHantTW: "正整數"}
	default:
		return errcode.Text{ZH: "整数", EN: "an integer", ZHHantTW: "整數"}
	}
}
