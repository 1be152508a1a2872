package claim

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// DefaultPort is the port of the gateway where PORT is not given.
const DefaultPort = "8080"

// ParsePort returns the port that PORT names; an empty text is DefaultPort, and
// 0 is any free port.
func ParsePort(text string) (int, error) {
	port, err := strconv.Atoi(cmp.Or(text, DefaultPort))
	if err != nil || port < 0 || port > 65535 {
		return 0, fmt.Errorf("PORT=%s is not a port: give a number from 1 to 65535, such as PORT=8081", text)
	}
	return port, nil
}

// Listen listens on the port that PORT names, on the loopback interface.
func Listen(text string) (net.Listener, error) {
	port, err := ParsePort(text)
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err == nil {
		return ln, nil
	}
	reason := err.Error()
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		reason = "it is taken"
	case errors.Is(err, syscall.EACCES):
		reason = "this user may not open it"
	}
	return nil, fmt.Errorf("port %d can't be used: %s; choose another one, such as PORT=%d", port, reason, another(port))
}

func another(port int) int {
	if port < 1024 {
		return 8080
	}
	if port == 65535 {
		return port - 1
	}
	return port + 1
}
