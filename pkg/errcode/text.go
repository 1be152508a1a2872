package errcode

// Text is one sentence for people, in each language that Achilles speaks.
type Text struct {
	ZH, EN, ZHHantTW string
}

// In returns the text in the language of locale: "en", "zh_Hant_TW", and
// Simplified Chinese for "zh" and everything else.
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
