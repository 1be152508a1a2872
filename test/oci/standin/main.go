// Command standin is the entrypoint of the stand-ins for the official images of
// MariaDB and Redis, in the place of their docker-entrypoint.sh and, under that
// name, of MariaDB's healthcheck.sh. It keeps what those promise: arguments go
// to the server, an empty data directory is set up from the environment, root
// becomes the server's user. What it cannot do it refuses by name.
package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// serverUser is the user and group of both servers.
const serverUser = 999

func main() {
	self := filepath.Base(os.Args[0])
	run := start
	if self == "healthcheck.sh" {
		run = healthcheck
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", self, err)
		os.Exit(1)
	}
}

// start becomes the command, or the server with these arguments.
func start(args []string) error {
	command := withServer(args)
	switch filepath.Base(command[0]) {
	case "mariadbd", "mysqld":
		if err := prepareMariaDB(command); err != nil {
			return err
		}
	case "redis-server":
		if err := becomeServer("/data"); err != nil {
			return err
		}
	}
	program, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	return syscall.Exec(program, command, os.Environ()) // #nosec G204 -- what the container is told to run
}

// withServer puts the image's server in front of what are only its arguments.
func withServer(args []string) []string {
	server := "redis-server"
	if _, err := exec.LookPath("mariadbd"); err == nil {
		server = "mariadbd"
	}
	if len(args) == 0 || strings.HasPrefix(args[0], "-") || strings.HasSuffix(args[0], ".conf") {
		return append([]string{server}, args...)
	}
	return args
}

// becomeServer gives the directories to the server's user and becomes it, if
// this is root.
func becomeServer(directories ...string) error {
	if os.Getuid() != 0 {
		return nil
	}
	for _, directory := range directories {
		err := filepath.WalkDir(directory, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, serverUser, serverUser)
		})
		if err != nil {
			return err
		}
	}
	if err := syscall.Setgroups(nil); err != nil {
		return err
	}
	if err := syscall.Setgid(serverUser); err != nil {
		return err
	}
	return syscall.Setuid(serverUser)
}
