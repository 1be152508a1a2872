package requests

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"unicode"

	"github.com/go-playground/locales/en"
	"github.com/go-playground/locales/zh"
	"github.com/go-playground/locales/zh_Hant_TW"
	ut "github.com/go-playground/universal-translator"
	"github.com/go-playground/validator/v10"
	enrules "github.com/go-playground/validator/v10/translations/en"
	zhrules "github.com/go-playground/validator/v10/translations/zh"
	twrules "github.com/go-playground/validator/v10/translations/zh_tw"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// rules validates structs by their validate tags, with messages in each language.
type rules struct {
	validate   *validator.Validate
	zh, en, tw ut.Translator
}

func newRules() (*rules, error) {
	r := &rules{validate: validator.New(validator.WithRequiredStructEnabled())}
	r.validate.RegisterTagNameFunc(jsonName)
	universal := ut.New(zh.New(), en.New(), zh_Hant_TW.New())
	r.zh, _ = universal.GetTranslator("zh")
	r.en, _ = universal.GetTranslator("en")
	r.tw, _ = universal.GetTranslator("zh_Hant_TW")
	err := errors.Join(
		r.validate.RegisterValidation("notblank", notBlank),
		r.validate.RegisterValidation("weburl", webURL),
		r.validate.RegisterValidation("slug", isSlug),
		zhrules.RegisterDefaultTranslations(r.validate, r.zh),
		enrules.RegisterDefaultTranslations(r.validate, r.en),
		twrules.RegisterDefaultTranslations(r.validate, r.tw),
		r.translate("notblank", errcode.Text{ZH: "{0}不能为空白", EN: "{0} must not be blank", ZHHantTW: "{0}不能為空白"}),
		r.translate("weburl", errcode.Text{ZH: "{0}必须是 http 或 https 的 URL", EN: "{0} must be an http or https URL", ZHHantTW: "{0}必須是 http 或 https 的 URL"}),
		r.translate("slug", malformedSlug("{0}")),
	)
	if err != nil {
		return nil, fmt.Errorf("registering validation messages: %w", err)
	}
	return r, nil
}

func (r *rules) translate(tag string, text errcode.Text) error {
	return errors.Join(
		r.register(tag, r.zh, text.ZH), r.register(tag, r.en, text.EN), r.register(tag, r.tw, text.ZHHantTW),
	)
}

func (r *rules) register(tag string, translator ut.Translator, text string) error {
	return r.validate.RegisterTranslation(tag, translator,
		func(t ut.Translator) error { return t.Add(tag, text, true) },
		func(t ut.Translator, f validator.FieldError) string {
			message, err := t.T(tag, f.Field())
			if err != nil {
				return f.Error()
			}
			return message
		})
}

// check returns an InvalidParams error with a detail for each field that breaks a
// rule or is invalid already, in the order of the struct's fields.
func (r *rules) check(dst any, invalid map[string]errcode.Detail) error {
	err := r.validate.Struct(dst)
	var broken validator.ValidationErrors
	if err != nil && !errors.As(err, &broken) {
		return fmt.Errorf("validating %T: %w", dst, err)
	}
	var details []errcode.Detail
	for field := range fields(reflect.TypeOf(dst)) {
		if detail, ok := invalid[jsonName(field)]; ok {
			details = append(details, detail) // its other errors follow from this one
			continue
		}
		for _, f := range broken {
			if name, _, _ := strings.Cut(f.StructField(), "["); name == field.Name {
				details = append(details, r.detail(f))
			}
		}
	}
	if details == nil {
		return nil
	}
	return &errcode.Error{Code: errcode.InvalidParams, Details: details}
}

func (r *rules) detail(f validator.FieldError) errcode.Detail {
	return errcode.Invalid(f.Field(), reason(f), errcode.Text{ZH: f.Translate(r.zh), EN: f.Translate(r.en), ZHHantTW: f.Translate(r.tw)})
}

// reason returns the reason of a rule that is broken. max and min limit the length of
// texts and arrays, and the value of numbers.
func reason(f validator.FieldError) errcode.Reason {
	number := f.Kind() != reflect.String && f.Kind() != reflect.Slice
	switch tag := f.Tag(); {
	case tag == "required" || tag == "notblank":
		return errcode.Required
	case tag == "oneof":
		return errcode.NotAllowed
	case number && (tag == "max" || tag == "min"):
		return errcode.OutOfRange
	case tag == "max":
		return errcode.TooLong
	case tag == "min":
		return errcode.TooShort
	default:
		return errcode.Malformed
	}
}

// notBlank requires at least one visible character: spaces, zero-width characters
// and control characters are not.
func notBlank(f validator.FieldLevel) bool {
	field := f.Field()
	return field.Kind() == reflect.String && strings.ContainsFunc(field.String(), func(r rune) bool {
		return unicode.IsGraphic(r) && !unicode.IsSpace(r)
	})
}

// isSlug requires an empty text or a slug; see Slug.
func isSlug(f validator.FieldLevel) bool {
	text := f.Field().String()
	return text == "" || slugs.MatchString(text)
}

// webURL requires an empty text or an absolute http or https URL.
func webURL(f validator.FieldLevel) bool {
	text := f.Field().String()
	if text == "" {
		return true
	}
	parsed, err := url.Parse(text)
	return err == nil && (parsed.Scheme == "http" || parsed.Scheme == "https") && parsed.Hostname() != ""
}
