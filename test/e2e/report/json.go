package report

import (
	"encoding/json"
	"fmt"
	"io"
)

// WriteJSON writes the report for programs; durations are in nanoseconds.
func (r *Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(r); err != nil {
		return fmt.Errorf("writing the report as JSON: %w", err)
	}
	return nil
}

// ReadJSON reads what WriteJSON has written.
func ReadJSON(from io.Reader) (*Report, error) {
	decoder := json.NewDecoder(from)
	decoder.DisallowUnknownFields()
	r := &Report{}
	if err := decoder.Decode(r); err != nil {
		return nil, fmt.Errorf("this is no report of this version, take the report.json of a new run: %w", err)
	}
	return r, nil
}
