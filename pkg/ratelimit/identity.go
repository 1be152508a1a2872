package ratelimit

import (
	"net/netip"

	"github.com/gin-gonic/gin"
)

// siteBits is the least that a network with IPv6 has (RFC 4291, 2.5.1): whoever
// has one of its addresses has them all.
const siteBits = 64

// address stands for the client's address, however it is written: as the
// trusted proxies name it, or else that of the connection's other end.
func address(c *gin.Context) string {
	if ip, err := netip.ParseAddr(c.ClientIP()); err == nil {
		return site(ip)
	}
	if peer, err := netip.ParseAddrPort(c.Request.RemoteAddr); err == nil {
		return site(peer.Addr())
	}
	return "unknown" // a Unix socket's, which all share
}

func site(ip netip.Addr) string {
	ip = ip.Unmap()
	if ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.Prefix(siteBits) // without the zone
	if err != nil {                    // for addresses that are none
		return "unknown"
	}
	return prefix.String()
}
