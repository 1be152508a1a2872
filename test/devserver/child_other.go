//go:build !linux

package main

import "syscall"

// childAttributes puts a child into a process group of its own, so that Ctrl-C
// reaches only this program, which then stops the children in order. Nothing
// here ends the child when this program is killed outright: only Linux offers
// that.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
