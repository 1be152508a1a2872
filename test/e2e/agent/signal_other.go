//go:build !linux

package agent

import (
	"errors"
	"syscall"
)

func signalPod(string, syscall.Signal) (int, error) { return 0, errors.New("agents run on Linux") }
