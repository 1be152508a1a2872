package requests

import (
	"reflect"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

var (
	bodyUnreadable = errcode.Text{ZH: "无法读取请求体", EN: "the body could not be read", ZHHantTW: "無法讀取請求內容"}
	formMalformed  = errcode.Text{ZH: "表单或查询参数的编码有误", EN: "the form or query is not valid URL encoding", ZHHantTW: "表單或查詢參數的編碼有誤"}
	malformedJSON  = errcode.Text{ZH: "请求体不是合法的 JSON", EN: "the body is not valid JSON", ZHHantTW: "請求內容不是合法的 JSON"}
	notAnObject    = errcode.Text{ZH: "请求体必须是一个 JSON 对象", EN: "the body must be a JSON object", ZHHantTW: "請求內容必須是一個 JSON 物件"}
	otherMediaType = errcode.Text{
		ZH:       "Content-Type 必须是 application/json 或 application/x-www-form-urlencoded, 字符集为 UTF-8",
		EN:       "Content-Type must be application/json or application/x-www-form-urlencoded, in UTF-8",
		ZHHantTW: "Content-Type 必須是 application/json 或 application/x-www-form-urlencoded, 字元集為 UTF-8",
	}
	compressed = errcode.Text{ZH: "不支持压缩的请求体 (Content-Encoding)", EN: "a compressed body (Content-Encoding) is not supported", ZHHantTW: "不支援壓縮的請求內容 (Content-Encoding)"}
	notUTF8    = errcode.Text{ZH: "内容必须是 UTF-8 编码", EN: "the content must be UTF-8", ZHHantTW: "內容必須是 UTF-8 編碼"}
)

func onlyOnce(name string) errcode.Text {
	return errcode.Text{ZH: name + "只能出现一次", EN: name + " must be given only once", ZHHantTW: name + "只能出現一次"}
}

func wrongType(name string, want reflect.Type) errcode.Text {
	kind := kindName(pointedTo(want).Kind())
	return errcode.Text{
		ZH:       name + "必须是" + kind.ZH,
		EN:       name + " must be " + kind.EN,
		ZHHantTW: name + "必須是" + kind.ZHHantTW,
	}
}

func kindName(k reflect.Kind) errcode.Text {
	switch k {
	case reflect.String:
		return errcode.Text{ZH: "字符串", EN: "a string", ZHHantTW: "字串"}
	case reflect.Slice:
		return errcode.Text{ZH: "数组", EN: "an array", ZHHantTW: "陣列"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return errcode.Text{ZH: "正整数", EN: "a positive integer", ZHHantTW: "正整數"}
	default:
		return errcode.Text{ZH: "整数", EN: "an integer", ZHHantTW: "整數"}
	}
}
