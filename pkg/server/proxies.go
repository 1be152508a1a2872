package server

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/responses"
)

// proxies are the trusted proxies.
type proxies struct {
	networks []netip.Prefix
	hops     int
}

func newProxies(cfg Config) (proxies, error) {
	p := proxies{hops: cfg.TrustedHops}
	for _, text := range cfg.TrustedProxies {
		network, err := netip.ParsePrefix(text)
		if addr, addrErr := netip.ParseAddr(text); addrErr == nil {
			network, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return p, fmt.Errorf("trusted proxies: %w", err)
		}
		if addr := network.Addr(); addr.Is4In6() && network.Bits() >= 96 {
			network = netip.PrefixFrom(addr.Unmap(), network.Bits()-96)
		}
		p.networks = append(p.networks, network)
	}
	return p, nil
}

func (p proxies) trust(addr netip.Addr) bool {
	return slices.ContainsFunc(p.networks, func(network netip.Prefix) bool { return network.Contains(addr) })
}

// client returns the address of the client of a request that comes from peer with
// these headers X-Forwarded-For. Each proxy has appended the address of its own peer,
// so the last address is that of the trusted peer's peer, and what is before the
// address that the outermost trusted proxy has appended may be forged. A proxy that
// has appended something else is the client.
func (p proxies) client(peer netip.Addr, forwarded []string) netip.Addr {
	if len(forwarded) == 0 || !p.trust(peer) {
		return peer
	}
	client, rest := peer, strings.Join(forwarded, ",")
	for range p.hops {
		comma := strings.LastIndexByte(rest, ',')
		addr, ok := parseHop(rest[comma+1:])
		if !ok {
			break
		}
		client = addr
		if comma < 0 || !p.trust(client) {
			break
		}
		rest = rest[:comma]
	}
	return client
}

// parseHop parses an address, with or without a port.
func parseHop(text string) (netip.Addr, bool) {
	text = strings.Trim(text, " \t")
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return canonical(withPort.Addr()), true
	}
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		text = text[1 : len(text)-1]
	}
	addr, err := netip.ParseAddr(text)
	return canonical(addr), err == nil
}

// canonical returns IPv4 addresses that are mapped to IPv6 as IPv4, and addresses
// without their zone.
func canonical(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// validPrefix matches an absolute path of safe characters without a slash at its end,
// which is no URL of another host. No element begins with a dot, so none is "..".
var validPrefix = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,63}){1,8}$`)

// hop returns the value that the outermost trusted proxy has set in a header field in which
// each proxy may append a value, as Apache does, or "" if there is none.
func (p proxies) hop(values []string) string {
	all := strings.Split(strings.Join(values, ","), ",")
	return strings.Trim(all[max(len(all)-p.hops, 0)], " \t")
}

// address sets the scheme and the host that a trusted proxy says the client used.
func (p proxies) address(c *gin.Context) {
	scheme, host := c.Request.Header["X-Forwarded-Proto"], c.Request.Header["X-Forwarded-Host"]
	if scheme == nil && host == nil {
		return
	}
	name := strings.ToLower(p.hop(scheme))
	if name != "http" && name != "https" {
		name = ""
	}
	responses.SetAddress(c, name, p.hop(host))
}

// forwarded applies what trusted proxies say about a request. It sets the RemoteAddr to
// the address of the client, with the port 0 if it comes from X-Forwarded-For; everything
// that follows uses it: the log, traces, rate limits, and gin's ClientIP. It sets the
// prefix of the path that a proxy has removed: the configured one, or else that of
// X-Forwarded-Prefix. And it sets the scheme and the host of X-Forwarded-Proto and
// X-Forwarded-Host.
func forwarded(cfg Config) (gin.HandlerFunc, error) {
	p, err := newProxies(cfg)
	return func(c *gin.Context) {
		prefix := cfg.PathPrefix
		if peer, err := netip.ParseAddrPort(c.Request.RemoteAddr); err == nil {
			from := canonical(peer.Addr())
			if p.trust(from) {
				prefix = cmp.Or(prefix, c.GetHeader("X-Forwarded-Prefix"))
				p.address(c)
			}
			switch client := p.client(from, c.Request.Header["X-Forwarded-For"]); {
			case client != from:
				c.Request.RemoteAddr = netip.AddrPortFrom(client, 0).String()
			case client != peer.Addr(): // another spelling
				c.Request.RemoteAddr = netip.AddrPortFrom(client, peer.Port()).String()
			}
		}
		if prefix != "" && validPrefix.MatchString(prefix) {
			responses.SetPathPrefix(c, prefix)
		}
	}, err
}
