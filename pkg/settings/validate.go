package settings

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/go-playground/validator/v10"
)

// Validate reports the values of a section that its tags or its method Validate do not allow. dst points to the section. Load
// does the same.
func Validate(dst any) error {
	known, err := describe(dst)
	if err != nil {
		return err
	}
	return known.validate(known.sections[0])
}

// validate applies the rules of the fields, and then the section's own method.
func (s *schema) validate(in section) error {
	var errs []error
	rules := validator.New()
	for _, f := range s.fields {
		if parent, name := split(f.key); parent == in.name {
			errs = append(errs, f.validate(rules, name))
		}
	}
	if own, ok := in.value.Addr().Interface().(interface{ Validate() error }); ok {
		errs = append(errs, own.Validate())
	}
	return errors.Join(errs...)
}

func (f field) validate(rules *validator.Validate, name string) error {
	if f.rules == "" {
		return nil
	}
	var broken validator.ValidationErrors
	if err := rules.Var(f.value.Interface(), f.rules); !errors.As(err, &broken) {
		return err
	}
	return Invalid(name, fmt.Sprint(broken[0].Value()), f.allowedByRules())
}

// ValidHostPort reports whether text is host:port, with a number as port. An IPv6 address needs brackets.
func ValidHostPort(text string) bool {
	host, port, err := net.SplitHostPort(text)
	number, notNumber := strconv.ParseUint(port, 10, 16)
	return err == nil && notNumber == nil && strings.TrimSpace(host) != "" && number > 0
}

// allowedByRules returns the tag `allowed`, or a description of the rules, or "" if there is neither.
func (f field) allowedByRules() string {
	if f.allowed != "" {
		return f.allowed
	}
	var low, high string
	for rule := range strings.SplitSeq(f.rules, ",") {
		name, value, _ := strings.Cut(rule, "=")
		switch name {
		case "min":
			low = value
		case "max":
			high = value
		case "gt":
			return "more than " + value
		case "oneof":
			values := strings.Fields(value)
			return strings.Join(values[:len(values)-1], ", ") + " or " + values[len(values)-1]
		}
	}
	switch {
	case low == "":
		return ""
	case high == "":
		return low + " or more"
	}
	return low + " to " + high
}
