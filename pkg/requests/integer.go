package requests

import (
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// number matches the numbers of JSON: sign, integer part, fraction, exponent.
var number = regexp.MustCompile(`^(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?$`)

const (
	// maxDigits is more than any 64-bit integer has.
	maxDigits = 20
	// maxNumberLength is the maximum length in bytes of a number. Longer ones would take
	// more memory than the body; no client needs them.
	maxNumberLength = 1000
)

// setInteger sets a field to an integer of JSON. As in JSON Schema, 1.0 and 1e0 are
// integers. ok is false if the text is none, or one that the field can't hold.
func setInteger(name, text string, to reflect.Value) (problem errcode.Detail, ok bool) {
	digits, isInteger := integer(text)
	unsigned := to.CanUint()
	if !isInteger || unsigned && digits[0] == '-' {
		return wrongType(name, to.Type()), false
	}
	var err error
	if unsigned {
		var value uint64
		value, err = strconv.ParseUint(digits, 10, to.Type().Bits())
		to.SetUint(value)
	} else {
		var value int64
		value, err = strconv.ParseInt(digits, 10, to.Type().Bits())
		to.SetInt(value)
	}
	if err != nil {
		return outOfRange(name), false
	}
	return errcode.Detail{}, true
}

// integer returns the decimal digits of a number of JSON if its value is an integer. Of
// one that exceeds any type it returns enough digits to exceed it, too.
func integer(text string) (digits string, ok bool) {
	if len(text) > maxNumberLength {
		return "", false
	}
	parts := number.FindStringSubmatch(text)
	if parts == nil {
		return "", false
	}
	sign, fraction, exponent := parts[1], parts[3], 0
	if parts[4] != "" {
		var err error
		if exponent, err = strconv.Atoi(parts[4]); err != nil { // at most the largest int
			exponent = max(min(exponent, 1<<30), -1<<30)
		}
	}
	digits = strings.TrimLeft(parts[2]+fraction, "0")
	significant := strings.TrimRight(digits, "0")
	if significant == "" {
		return "0", true
	}
	// The value is significant * 10^zeros.
	zeros := exponent - len(fraction) + len(digits) - len(significant)
	if zeros < 0 {
		return "", false
	}
	return sign + significant + strings.Repeat("0", min(zeros, maxDigits)), true
}
