package frontmatter

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Years that a time may have: those that databases store.
const minYear, maxYear = 1000, 9999

// numeric matches times that begin with the year, as RFC 3339, Jekyll, Hexo and TOML have them.
var numeric = regexp.MustCompile(`^(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})` +
	`(?:[Tt\s]+(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:[.,](\d{1,9}))?)?(?:\s*([AaPp][Mm]))?)?` +
	`\s*(Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?$`)

// verbal are layouts with names of months.
var verbal = []string{
	time.RFC1123Z, "Mon, 2 Jan 2006 15:04:05 -0700", "Mon, 02 Jan 2006 15:04:05 UTC", "Mon, 02 Jan 2006 15:04:05 GMT", "Mon Jan _2 15:04:05 2006",
	"Mon Jan _2 15:04:05 UTC 2006", "2 Jan 2006 15:04:05 -0700", "2 Jan 2006 15:04:05", "2 Jan 2006 15:04", "2 Jan 2006", "2 January 2006", "Jan 2, 2006", "January 2, 2006",
	"Jan 2, 2006 15:04", "January 2, 2006 15:04", "Jan 2 2006", "January 2 2006", "Mon, 2 Jan 2006", "Monday, January 2, 2006",
}

const timeHelp = "is no time: write it as 2026-01-02 15:04:05 +0800 or 2026-01-02"

// ParseTime parses a time in one of the formats that front matter has in the wild; without a
// zone it is in zone. problem says what is wrong with it, or is "". The year 1, which is no date
// for Hugo, is the zero time.
func ParseTime(text string, zone *time.Location) (at time.Time, problem string) {
	text = strings.TrimSpace(text)
	if strings.Contains(text, "年") {
		text = strings.TrimSpace(strings.NewReplacer("年", "-", "月", "-", "日", " ").Replace(text))
	}
	if strings.HasPrefix(text, "0001-01-01") {
		return time.Time{}, ""
	}
	if found := numeric.FindStringSubmatch(text); found != nil {
		at, problem = fromNumbers(found, zone)
	} else {
		at, problem = fromWords(text, zone)
	}
	if problem == "" && (at.UTC().Year() < minYear || at.UTC().Year() > maxYear) {
		problem = "is out of range: the year must be 1000 to 9999"
	}
	if problem != "" {
		return time.Time{}, problem
	}
	return at.UTC(), ""
}

func fromNumbers(found []string, zone *time.Location) (time.Time, string) {
	var n [6]int
	for i := range n {
		n[i], _ = strconv.Atoi(found[i+1]) // digits, or nothing
	}
	year, month, day, hour, minute, second := n[0], n[1], n[2], n[3], n[4], n[5]
	nanosecond, _ := strconv.Atoi((found[7] + "000000000")[:9])
	if half := strings.ToLower(found[8]); half != "" {
		if hour < 1 || hour > 12 {
			return time.Time{}, timeHelp
		}
		hour %= 12
		if half == "pm" {
			hour += 12
		}
	}
	if offset := found[9]; offset != "" {
		var ok bool
		if zone, ok = zoneOf(offset); !ok {
			return time.Time{}, "has an impossible zone: write an offset such as +08:00"
		}
	}
	if month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 60 {
		return time.Time{}, timeHelp
	}
	at := time.Date(year, time.Month(month), day, hour, minute, min(second, 59), nanosecond, zone)
	if at.Day() != day && time.Date(year, time.Month(month), day, 12, 0, 0, 0, time.UTC).Day() != day {
		return time.Time{}, "is no time: the month has fewer days"
	}
	return at, ""
}

// zoneOf returns the zone of Z, UTC, GMT or an offset such as +08, +0800 or +08:00.
func zoneOf(offset string) (*time.Location, bool) {
	digits := strings.ReplaceAll(offset, ":", "")
	if len(digits) < 3 || digits == "UTC" || digits == "GMT" {
		return time.UTC, true
	}
	hours, _ := strconv.Atoi(digits[1:3])
	minutes, _ := strconv.Atoi("0" + digits[3:])
	if hours > 23 || minutes > 59 {
		return nil, false
	}
	seconds := hours*3600 + minutes*60
	if digits[0] == '-' {
		seconds = -seconds
	}
	return time.FixedZone("", seconds), true
}

var abbreviation = regexp.MustCompile(`\d\s+[A-Z]{2,5}$`)

func fromWords(text string, zone *time.Location) (time.Time, string) {
	for _, layout := range verbal {
		if at, err := time.ParseInLocation(layout, text, zone); err == nil {
			if strings.Contains(layout, "UTC") || strings.Contains(layout, "GMT") {
				at = time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), 0, time.UTC)
			}
			return at, ""
		}
	}
	if abbreviation.MatchString(text) {
		return time.Time{}, "has an ambiguous zone: write an offset such as +08:00 instead of its name"
	}
	return time.Time{}, timeHelp
}
