package server

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// maxConcurrentStreams is the maximum number of requests in progress on an HTTP/2
	// connection.
	maxConcurrentStreams = 16
	// http2WriteTimeout is how long an HTTP/2 client may read nothing of what is
	// written. With HTTP/1 Config.WriteTimeout does this.
	http2WriteTimeout = 5 * time.Second
	// http2ReceiveBuffer is the number of bytes that an HTTP/2 client may send before
	// they are read. net/http would keep 1 MiB of each connection.
	http2ReceiveBuffer = 64 << 10
)

func http2Config() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams: maxConcurrentStreams, WriteByteTimeout: http2WriteTimeout,
		MaxReceiveBufferPerConnection: http2ReceiveBuffer, MaxReceiveBufferPerStream: http2ReceiveBuffer,
	}
}

// protocols returns HTTP/1 and cleartext HTTP/2. Shutdown does not see the connections
// of gin's own h2c support. With HTTP/1 alone, ReadTimeout would begin before the first
// byte of a connection.
func protocols() *http.Protocols {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return protocols
}

// NewHTTPServer returns the server of the public listener, for HTTP/1.1 and cleartext
// HTTP/2, with timeouts and limits. Pass it to lifecycle.Process.Serve.
func NewHTTPServer(cfg Config, handler http.Handler, log *zap.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		Protocols:         protocols(),
		HTTP2:             http2Config(),
		ReadHeaderTimeout: cfg.ReadHeaderTimeout,
		ReadTimeout:       cfg.ReadTimeout,
		WriteTimeout:      cfg.WriteTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          errorLog(log),
		// Otherwise net/http answers OPTIONS * without the middleware.
		DisableGeneralOptionsHandler: true,
	}
}

// NewAdminServer returns the server of the admin listener. It has no WriteTimeout,
// because clients choose the duration of a CPU profile. Pass it to
// lifecycle.Process.ServeAdmin.
func NewAdminServer(handler http.Handler, log *zap.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		Protocols:         protocols(),
		HTTP2:             http2Config(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          errorLog(log),
	}
}

func errorLog(to *zap.Logger) *log.Logger {
	std, err := zap.NewStdLogAt(to, zapcore.WarnLevel)
	if err != nil { // for unknown levels only
		return zap.NewStdLog(to)
	}
	return std
}

// Listen listens on the public port. Its error says which setting to change.
func Listen(ctx context.Context, cfg Config) (net.Listener, error) {
	return listen(ctx, cfg.Host, cfg.HTTPPort, "server.host", "server.httpport")
}

// ListenAdmin listens on the admin port. Its error says which setting to change.
func ListenAdmin(ctx context.Context, cfg Config) (net.Listener, error) {
	return listen(ctx, cfg.AdminHost, cfg.AdminPort, "server.adminhost", "server.adminport")
}

func listen(ctx context.Context, host string, port int, hostFlag, portFlag string) (net.Listener, error) {
	config := net.ListenConfig{Control: boundSendBuffer}
	ln, err := config.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	switch {
	case err == nil:
		return ln, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("port %d is in use by another program; stop it, or choose another port with --%s", port, portFlag)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("port %d requires privileges that this user does not have; choose 1024 or higher with --%s", port, portFlag)
	default:
		return nil, fmt.Errorf("cannot listen on %q port %d (%w); choose an address of this host with --%s", host, port, err, hostFlag)
	}
}

// sendBuffer is the size in bytes of the kernel's buffer for what a client has not read.
// The kernel would let it grow to megabytes, which count for the container.
const sendBuffer = 64 << 10

// Adopt bounds the memory of the connections of a listener that something else has
// opened, as Listen does.
func Adopt(ln syscall.Conn) error {
	raw, err := ln.SyscallConn()
	if err != nil {
		return err
	}
	return boundSendBuffer("", "", raw)
}

// boundSendBuffer sets the send buffer of a listener, which its connections inherit.
func boundSendBuffer(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, sendBuffer)
	})
	return errors.Join(err, failed)
}

// LocalURL returns the URL of path on a listener of this process, for clients on the
// same host.
func LocalURL(addr net.Addr, path string) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "http://" + addr.String() + path
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1" // [::] takes IPv4 too
	}
	return "http://" + net.JoinHostPort(host, port) + path
}
