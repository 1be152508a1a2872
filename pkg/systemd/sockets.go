package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
)

// Sockets are the listeners that systemd has passed to this process, by name.
type Sockets map[string]*net.TCPListener

// TakeSockets returns the sockets that systemd has passed (LISTEN_FDS). The names are
// those that the service knows: each socket must have one of them as its
// FileDescriptorName. A socket that is the only one gets the first name.
func TakeSockets(names ...string) (Sockets, error) {
	files := activation.Files(true)
	sockets := Sockets{}
	var errs []error
	for _, file := range files {
		name := file.Name()
		if len(files) == 1 {
			name = names[0]
		}
		ln, err := listener(file)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("the socket %s of systemd cannot be used: %w; it must be a ListenStream with the address and the port of TCP", name, err))
		case !slices.Contains(names, name) || sockets[name] != nil:
			errs = append(errs, fmt.Errorf("systemd passes a socket named %s: set FileDescriptorName of each socket unit to another one of %s", name, strings.Join(names, ", ")))
			_ = ln.Close()
		default:
			sockets[name] = ln
		}
	}
	if len(errs) > 0 {
		sockets.close()
	}
	return sockets, errors.Join(errs...)
}

func listener(file *os.File) (*net.TCPListener, error) {
	defer func() { _ = file.Close() }()
	ln, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		_ = ln.Close()
		return nil, fmt.Errorf("its network is %s", ln.Addr().Network())
	}
	return tcp, nil
}

func (s Sockets) close() {
	for _, ln := range s {
		_ = ln.Close()
	}
}
