//go:build !linux

package process

import "syscall"

// asChild keeps a Ctrl-C at the terminal from the child, which the
// tests then stop.
func asChild(attributes *syscall.SysProcAttr) {
	attributes.Setpgid = true
}
