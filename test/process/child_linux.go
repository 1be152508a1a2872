package process

import "syscall"

// asChild keeps a Ctrl-C at the terminal from the child, which the
// tests then stop, and has the kernel kill it when they die without doing so.
func asChild(attributes *syscall.SysProcAttr) {
	attributes.Setpgid, attributes.Pdeathsig = true, syscall.SIGKILL
}
