package process

import "syscall"

// asChild isolates the child from Ctrl-C, after which the tests stop it, and makes the
// kernel kill it when the tests exit.
func asChild(attributes *syscall.SysProcAttr) {
	attributes.Setpgid, attributes.Pdeathsig = true, syscall.SIGKILL
}
