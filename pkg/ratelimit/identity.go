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
func (l *Limiter) Client(c *gin.Context) string { return l.identify(c).client }

// identify returns the identity of an authenticated request, or of its address. The
// prefix distinguishes app keys from addresses.
func (l *Limiter) identify(c *gin.Context) identity {
	if l.deps.Principal != nil {
		if appKey := l.deps.Principal(c); appKey != "" {
			return identity{client: "app:" + appKey}
		}
	}
	return l.identifyAddress(c)
}

// identifyAddress returns the identity of the client's address, which server.NewEngine
// has put into the RemoteAddr of the request.
func (l *Limiter) identifyAddress(c *gin.Context) identity {
	client, err := netip.ParseAddrPort(c.Request.RemoteAddr)
	if err != nil {
		return identity{client: "ip:unknown"} // all clients of a Unix socket share one limit
	}
	ip := client.Addr().Unmap()
	if ip.Is4() {
		return identity{client: string(ip.AppendTo(append(make([]byte, 0, 32), "ip:"...)))}
	}
	found := identity{client: "ip:" + prefix(ip, l.cfg.IPv6Prefix)}
	if l.cfg.IPv6Prefix > siteBits {
		found.site = "ip:" + prefix(ip, siteBits)
	}
	return found
}

// prefix returns the first bits of an IPv6 address, without its zone.
func prefix(ip netip.Addr, bits int) string {
	return netip.PrefixFrom(ip.WithZone(""), bits).Masked().String()
}
