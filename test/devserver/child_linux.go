package main

import "syscall"

// childAttributes puts a child into a process group of its own, so that Ctrl-C
// reaches only this program, which then stops the children in order; and has
// the kernel kill the child when this program dies without having done so.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
