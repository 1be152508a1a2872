package requests

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// Options of the tag "text" of a field: what is done to its text before it is
// validated.
const (
	normalized = "nfc"  // stored in Unicode's normalization form C
	trimmed    = "trim" // without white space around it
	oneLine    = "line" // control characters are invalid
)

// normalizeText applies the tag "text" of each field.
func (d *destination) normalizeText() {
	for f := range fields(d.value.Type()) {
		text := reflect.Indirect(d.value.FieldByIndex(f.Index))
		if text.Kind() != reflect.String {
			continue
		}
		name, value := jsonName(f), text.String()
		for option := range strings.SplitSeq(f.Tag.Get("text"), ",") {
			switch option {
			case normalized:
				var ok bool
				if value, ok = composed(value); !ok {
					d.reject(name, growsTooMuch(name))
				}
			case trimmed:
				value = strings.TrimSpace(value)
			case oneLine:
				if i := strings.IndexFunc(value, unicode.IsControl); i >= 0 {
					letter, _ := utf8.DecodeRuneInString(value[i:])
					d.reject(name, controlCharacter(name, letter))
				}
			}
		}
		text.SetString(value)
	}
}

func controlCharacter(name string, r rune) errcode.Detail {
	code := fmt.Sprintf("U+%04X", r)
	return errcode.Invalid(name, errcode.Malformed, errcode.Text{
		ZH:       name + "不能包含控制字符: " + code,
		EN:       name + " must not contain control characters: " + code,
		ZHHantTW: name + "不能包含控制字元: " + code,
	})
}

// composed returns the normalization form C of a text. That may be three times as long,
// and a client that chooses such letters must not use three times the memory: ok is
// false if it is more than half as long again.
func composed(text string) (_ string, ok bool) {
	if norm.NFC.IsNormalString(text) {
		return text, true
	}
	const slack = 1024
	limit := len(text) + len(text)/2 + slack
	var result strings.Builder
	result.Grow(limit)
	var letters norm.Iter
	for letters.InitString(norm.NFC, text); !letters.Done(); {
		next := letters.Next()
		if result.Len()+len(next) > limit {
			return "", false
		}
		result.Write(next)
	}
	return result.String(), true
}

func growsTooMuch(name string) errcode.Detail {
	return errcode.Invalid(name, errcode.TooLong, errcode.Text{
		ZH:       name + "规范化 (Unicode NFC) 后过长",
		EN:       name + " is too long in Unicode's normalization form C",
		ZHHantTW: name + "正規化 (Unicode NFC) 後過長",
	})
}
