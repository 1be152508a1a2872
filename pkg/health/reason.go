package health

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// Reason is an error whose text /readyz may show. Of other errors it shows only the
// class, because their texts may contain addresses and accounts. The reasons of a
// dependency are values of a label of a metric, so there must be few: a Reason may
// contain an error number, but no measured value.
type Reason string

func (r Reason) Error() string { return string(r) }

// WithReason returns an error of which /readyz shows the reason, and the log and the
// admin port the cause, too.
func WithReason(reason Reason, cause error) error { return fmt.Errorf("%w: %w", reason, cause) }

const (
	timedOut        Reason = "timeout"
	refused         Reason = "connection refused"
	lost            Reason = "connection lost"
	unknownHost     Reason = "unknown host"
	nameServer      Reason = "name server failing"
	unreachable     Reason = "unreachable"
	noFiles         Reason = "too many open files"
	badCertificate  Reason = "TLS: certificate not trusted"
	expired         Reason = "TLS: certificate expired"
	otherName       Reason = "TLS: certificate of another host"
	handshakeFailed Reason = "TLS: handshake failed"
	failed          Reason = "failing: see the log or the admin port"
	stale           Reason = "stale"
	notChecked      Reason = "not checked yet"
)

// reasonOf returns what may be shown of err: nil or a Reason.
func reasonOf(err error) error {
	var reason Reason
	switch {
	case err == nil:
		return nil
	case errors.As(err, &reason):
		return reason
	}
	for _, classify := range []func(error) Reason{timeoutReason, tlsReason, networkReason} {
		if reason := classify(err); reason != "" {
			return reason
		}
	}
	return failed
}

func timeoutReason(err error) Reason {
	var network net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &network) && network.Timeout() {
		return timedOut
	}
	return ""
}

func tlsReason(err error) Reason {
	var (
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		authority x509.UnknownAuthorityError
		verify    *tls.CertificateVerificationError
		record    tls.RecordHeaderError
		alert     tls.AlertError
	)
	switch {
	case errors.As(err, &host):
		return otherName
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return expired
	case errors.As(err, &authority), errors.As(err, &verify):
		return badCertificate
	case errors.As(err, &record), errors.As(err, &alert):
		return handshakeFailed
	}
	return ""
}

func networkReason(err error) Reason {
	var name *net.DNSError
	var network net.Error
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		return unknownHost
	case errors.As(err, &name):
		return nameServer
	case errors.Is(err, syscall.ECONNREFUSED):
		return refused
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return noFiles
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return lost
	case errors.As(err, &network):
		return unreachable
	}
	return ""
}
