package responses

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"
)

// maxLinks is the maximum length of the header field Link in bytes. A proxy has a small
// buffer for the header of a response: 4 KiB in nginx, unless configured.
const maxLinks = 2560

// Parameters of a list that its links replace.
const (
	pageParameter  = "page"
	afterParameter = "after"
)

// SetLinks sets the header field Link (RFC 8288) of a page of a list: next, with a cursor,
// prev for a page with a number, and first. The links are the address that the client used,
// with its other parameters. Links that would make the field too long are left out.
func SetLinks(c *gin.Context, pager Pager) {
	if len(c.Request.URL.RawQuery) > maxLinks {
		return
	}
	address, query := Address(c), otherParameters(c.Request.URL.RawQuery)
	var links strings.Builder
	add := func(relation string, parameters ...string) {
		link := `<` + address + question(query, parameters...) + `>; rel="` + relation + `"`
		if links.Len() > 0 {
			link = ", " + link
		}
		if links.Len()+len(link) <= maxLinks {
			links.WriteString(link)
		}
	}
	if pager.Next != "" {
		add("next", afterParameter, pager.Next)
	}
	if pager.Page > 1 {
		add("prev", pageParameter, strconv.Itoa(pager.Page-1))
	}
	add("first")
	if links.Len() > 0 {
		c.Header("Link", links.String())
	}
}

// question returns a query with its question mark. The name and the value of one more
// parameter, if given, need no escaping.
func question(query string, more ...string) string {
	if len(more) > 0 {
		query = strings.TrimPrefix(query+"&"+strings.Join(more, "="), "&")
	}
	if query == "" {
		return ""
	}
	return "?" + query
}

// validHost matches names and addresses of hosts, with or without a port.
var validHost = regexp.MustCompile(`^([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?$`)

// Address returns the address of the request as the client used it, without the query. If
// the host in the request is invalid, the address is a path.
func Address(c *gin.Context) string {
	options := optionsOf(c)
	path := options.prefix + c.Request.URL.EscapedPath()
	host := cmp.Or(options.host, c.Request.Host)
	if !validHost.MatchString(host) {
		return path
	}
	return cmp.Or(options.scheme, schemeOf(c.Request)) + "://" + host + path
}

func schemeOf(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// otherParameters returns a query without the parameters that the links of a list replace.
func otherParameters(query string) string {
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		if pair != "" && name != pageParameter && name != afterParameter {
			kept = append(kept, escapeRest(pair))
		}
	}
	return strings.Join(kept, "&")
}

// escapeRest escapes what is not escaped yet in a parameter and could end a link, or be
// taken for the end of one. It doesn't change the meaning.
func escapeRest(pair string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~=+:@/!$*()[]"
	var escaped strings.Builder
	for i := range len(pair) {
		letter := pair[i]
		isEscape := letter == '%' && i+2 < len(pair) && isHex(pair[i+1]) && isHex(pair[i+2])
		if isEscape || strings.IndexByte(plain, letter) >= 0 {
			escaped.WriteByte(letter)
		} else {
			fmt.Fprintf(&escaped, "%%%02X", letter)
		}
	}
	return escaped.String()
}

func isHex(letter byte) bool { return strings.IndexByte("0123456789ABCDEFabcdef", letter) >= 0 }
