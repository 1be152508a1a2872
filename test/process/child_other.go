//go:build !linux

package process

import "syscall"

// asChild isolates the child from Ctrl-C, after which the tests stop it.
func asChild(attributes *syscall.SysProcAttr) {
	attributes.Setpgid = true
}
