package ratelimit

import (
	"net/netip"

	"github.com/gin-gonic/gin"
)

// siteBits is the length of the prefix of the smallest IPv6 subnet (RFC 4291, 2.5.1).
// A client with one address of a subnet can use all of them.
const siteBits = 64

// address returns the canonical address of the client: the one that trusted proxies
// report, or else the remote address of the connection.
func address(c *gin.Context) string {
	if ip, err := netip.ParseAddr(c.ClientIP()); err == nil {
		return site(ip)
	}
	if peer, err := netip.ParseAddrPort(c.Request.RemoteAddr); err == nil {
		return site(peer.Addr())
	}
	return "unknown" // all clients of a Unix socket share one limit
}

func site(ip netip.Addr) string {
	ip = ip.Unmap()
	if ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.Prefix(siteBits) // without the zone
	if err != nil {                    // for the zero address
		return "unknown"
	}
	return prefix.String()
}
