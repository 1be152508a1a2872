package process

import "syscall"

// childAttributes keeps a Ctrl-C at the terminal from the child, which the
// tests then stop, and has the kernel kill it when they die without doing so.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
