package auth

import "github.com/achilles-blog/achilles/pkg/errcode"

var (
	newToken = errcode.Text{
		ZH:       "请通过 POST /auth 用 app_key 和 app_secret 获取新的 Token, 并在请求头 Authorization: Bearer <Token> 中发送",
		EN:       "get a new token by POST /auth with app_key and app_secret, and send it in the header Authorization: Bearer <token>",
		ZHHantTW: "請透過 POST /auth 以 app_key 和 app_secret 取得新的 Token, 並在請求標頭 Authorization: Bearer <Token> 中傳送",
	}
	oneToken = errcode.Text{
		ZH:       "请求有多个凭证, 请只发送一个请求头 Authorization 或一个请求头 token (空的请求头也算)",
		EN:       "the request has several credentials, send only one header Authorization or one header token (an empty header counts)",
		ZHHantTW: "請求有多個憑證, 請只傳送一個請求標頭 Authorization 或一個請求標頭 token (空的請求標頭也算)",
	}
	noSigningKey = errcode.Text{
		ZH:       "服务没有可用的签名密钥, 请联系管理员 (Auth.KeysFile)",
		EN:       "the service has no signing key, ask its operator to set one (Auth.KeysFile)",
		ZHHantTW: "服務沒有可用的簽署金鑰, 請聯絡管理員 (Auth.KeysFile)",
	}
)

func lacksScope(scope string) errcode.Text {
	return errcode.Text{
		ZH:       "该 app_key 没有权限范围 " + scope,
		EN:       "this app_key does not have the scope " + scope,
		ZHHantTW: "此 app_key 沒有權限範圍 " + scope,
	}
}
