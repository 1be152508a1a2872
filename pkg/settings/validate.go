package settings

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-playground/validator/v10"
)

// Validate reports every value of the section that dst points to which its tags or its method Validate do not allow. Load does
// so by itself.
func Validate(dst any) error {
	known, err := describe(dst)
	if err != nil {
		return err
	}
	return known.validate(known.sections[0])
}

// validate applies the fields' rules first, and then the section's own method, which compares fields with each other.
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

// allowedByRules is the field's tag `allowed`, or else what its rules say, or "" if they don't speak for themselves.
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
