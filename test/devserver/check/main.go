// Command check reports whether make run can have its port and its directory:
//
//	check PORT DATA
//
// The Makefile runs it before anything else is compiled.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/achilles-blog/achilles/test/devserver/claim"
)

func main() {
	if err := check(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "achilles: %v\n", err)
		os.Exit(1)
	}
}

func check(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: check PORT DATA")
	}
	ln, err := claim.Listen(args[0])
	if err != nil {
		return err
	}
	defer func() { _ = ln.Close() }()
	d, err := claim.OpenData(args[1])
	if err != nil {
		return err
	}
	return d.Close()
}
