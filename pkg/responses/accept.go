package responses

import (
	"mime"
	"strconv"
	"strings"
)

// Weights returns the weights of what the lines of a header field such as Accept or
// Accept-Encoding name (RFC 9110, 12.4.2), by lower-case name: 1 without a weight, 0 if it
// is not valid. Malformed elements are left out.
func Weights(lines []string) map[string]float64 {
	weights := map[string]float64{}
	for element := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		name, parameters, err := mime.ParseMediaType(element)
		if err != nil {
			continue
		}
		weight := 1.0
		if q, given := parameters["q"]; given {
			if weight, err = strconv.ParseFloat(q, 64); err != nil || !(weight >= 0 && weight <= 1) {
				weight = 0
			}
		}
		weights[name] = max(weights[name], weight)
	}
	return weights
}
