package errcode

// Text is a text in each supported language.
type Text struct {
	ZH, EN, ZHHantTW string
}

// In returns the text in the given language: "en", "zh_Hant_TW" or "zh". For any other
// value it returns Simplified Chinese.
func (t Text) In(locale string) string {
	switch locale {
	case "en":
		return t.EN
	case "zh_Hant_TW":
		return t.ZHHantTW
	default:
		return t.ZH
	}
}
