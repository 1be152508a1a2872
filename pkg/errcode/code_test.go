package errcode_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// Published numbers, statuses and messages must not change.
func TestPublishedCodes(t *testing.T) {
	published := map[errcode.Code]struct {
		status int
		zh     string
	}{
		0:        {200, "成功"},
		10000000: {500, "服务内部错误"},
		10000001: {400, "入参错误"},
		10000002: {404, "找不到"},
		10000003: {401, "鉴权失败, 找不到对应的 AppKey 和 AppSecret"},
		10000004: {401, "鉴权失败, Token 错误"},
		10000005: {401, "鉴权失败, Token 超时"},
		10000006: {401, "鉴权失败, Token 生成失败"},
		10000007: {429, "请求过多"},
		10000008: {409, "与现有数据冲突"},
		10000009: {412, "前提条件不满足"},
		10000010: {413, "请求体过大"},
		10000011: {415, "不支持的媒体类型"},
		10000012: {405, "不允许的请求方法"},
		10000013: {403, "没有权限"},
		10000014: {503, "服务暂时不可用, 请稍后重试"},
		10000015: {504, "处理超时"},
		10000016: {408, "请求发送超时"},
		10000020: {422, "该 Idempotency-Key 已用于另一个请求"},
		10000021: {409, "相同 Idempotency-Key 的请求仍在处理中, 请稍后重试"},
		10000022: {503, "服务暂时只读, 请稍后重试"},
		20010001: {500, "获取标签列表失败"},
		20010007: {404, "标签不存在"},
		20010008: {409, "标签名称已存在"},
		20020001: {500, "获取单个文章失败"},
		20020006: {404, "文章不存在"},
		20020007: {400, "标签不存在"},
		20030001: {500, "上传文件失败"},
	}
	for code, want := range published {
		require.Equal(t, want.status, code.Status(), "status of %d", code)
		require.Equal(t, want.zh, code.Message("zh"), "message of %d", code)
	}
}

// docs/errors.md lists exactly the declared codes.
func TestDocumentedCodes(t *testing.T) {
	text, err := os.ReadFile("../../docs/errors.md")
	require.NoError(t, err)
	documented := regexp.MustCompile(`(?m)^\| \d{8} \| .*? \| .*? \|`).FindAllString(string(text), -1)
	var declared []string
	for _, code := range errcode.All() {
		if code != errcode.Success {
			declared = append(declared, fmt.Sprintf("| %d | %d | %s |", code, code.Status(), code.Message("en")))
		}
	}
	require.Equal(t, declared, documented)
}

// docs/errors.md lists exactly the declared reasons.
func TestDocumentedReasons(t *testing.T) {
	text, err := os.ReadFile("../../docs/errors.md")
	require.NoError(t, err)
	var documented []errcode.Reason
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, errcode.Reason(row[1]))
	}
	require.Equal(t, errcode.Reasons(), documented)
}

func TestMessagesAreTranslated(t *testing.T) {
	for _, code := range errcode.All() {
		for _, locale := range []string{"zh", "en", "zh_Hant_TW"} {
			require.NotEmpty(t, code.Message(locale), "%d in %s", code, locale)
		}
		require.GreaterOrEqual(t, code.Status(), 200)
	}
}

// The compiler detects neither two constants with the same number nor a constant
// without a definition.
func TestNumbersAreUnique(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	names := map[int]string{}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			literal, ok := spec.Values[0].(*ast.BasicLit)
			if !ok || literal.Kind != token.INT {
				return true
			}
			number, err := strconv.Atoi(literal.Value)
			require.NoError(t, err)
			require.Empty(t, names[number], "%d is declared as %s and %s", number, names[number], spec.Names[0].Name)
			names[number] = spec.Names[0].Name
			return true
		})
	}
	require.Len(t, names, len(errcode.All()), "constants and definitions differ")
}

func TestUnknownCodeIsInternal(t *testing.T) {
	require.Equal(t, 500, errcode.Code(42).Status())
}

func TestNewUnavailable(t *testing.T) {
	cause := errors.New("disk on fire")
	require.Equal(t, &errcode.Error{Code: errcode.Unavailable, RetryAfter: time.Second, Cause: cause}, errcode.NewUnavailable(cause))
	text := errcode.Text{EN: "queue full"}
	require.Equal(t, &errcode.Error{Code: errcode.Unavailable, Details: []errcode.Detail{{Text: text}}, RetryAfter: time.Second},
		errcode.NewUnavailable(nil, text))
}

func TestWrap(t *testing.T) {
	cause := errors.New("disk on fire")
	err := errcode.Wrap(errcode.Unavailable, cause)
	require.ErrorIs(t, err, cause)
	require.Contains(t, err.Error(), "10000014")
	require.Contains(t, err.Error(), "disk on fire")
}
