package ratelimit

import (
	"net/netip"

	"github.com/gin-gonic/gin"
)

// siteBits is the length of the prefix of an IPv6 site (RFC 6177): whoever has one
// has 65,536 subnets of 64 bits.
const siteBits = 48

// identity is what a request counts against: its app key or address and, for some
// addresses, a site with a larger limit.
type identity struct{ client, site string }

// Client returns the identity of the client of a request, as the limits have it: its
// app key, or its address. It does so even if the limits are disabled.
func (l *Limiter) Client(c *gin.Context) string {
	return identify(c, l.limits.In(c.Request.Context()), l.deps.Principal).client
}

// identify returns the identity of a request: that of its app key, if principal, which may
// be nil, returns one, or else that of the client's address, which server.NewEngine has put
// into the RemoteAddr. The prefix distinguishes app keys from addresses.
func identify(c *gin.Context, limits *limits, principal func(*gin.Context) string) identity {
	if principal != nil {
		if appKey := principal(c); appKey != "" {
			return identity{client: "app:" + appKey}
		}
	}
	client, err := netip.ParseAddrPort(c.Request.RemoteAddr)
	if err != nil {
		return identity{client: "ip:unknown"} // all clients of a Unix socket share one limit
	}
	ip := client.Addr().Unmap()
	if ip.Is4() {
		return identity{client: string(ip.AppendTo(append(make([]byte, 0, 32), "ip:"...)))}
	}
	found := identity{client: "ip:" + prefix(ip, limits.ipv6Prefix)}
	if limits.ipv6Prefix > siteBits {
		found.site = "ip:" + prefix(ip, siteBits)
	}
	return found
}

// prefix returns the first bits of an IPv6 address, without its zone.
func prefix(ip netip.Addr, bits int) string {
	return netip.PrefixFrom(ip.WithZone(""), bits).Masked().String()
}
