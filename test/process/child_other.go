//go:build !linux

package process

import "syscall"

// childAttributes keeps a Ctrl-C at the terminal from the child, which the
// tests then stop.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
