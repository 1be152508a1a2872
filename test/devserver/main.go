// Command devserver runs Achilles on one machine for a person to try:
// "devserver run" starts the services behind one gateway, "devserver demo" fills
// them with content, and "devserver token" prints a token for writes. The targets
// run, demo and token of the Makefile call it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
)

const usage = `Usage: devserver COMMAND [flags]

  run    start the services behind one gateway     --port 8080  --data var  --bin bin  --root .
  demo   fill the running system with content      --port PORT  --data var
  token  print a token for the running system      --port PORT  --data var

Without --port, run takes 8080, and demo and token take the port of the run that
uses the directory. With --port 0 run takes a free port. See also: make help
`

func main() {
	os.Exit(devserver(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// devserver runs the command that args (without the program's name) ask for and
// returns the exit code.
func devserver(args, environ []string, stdout, stderr io.Writer) int {
	if err := dispatch(args, environ, stdout, stderr); err != nil {
		_, _ = fmt.Fprintf(stderr, "achilles: %v\n", err)
		return 1
	}
	return 0
}

func dispatch(args, environ []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return errors.New("which command, run, demo or token? See: devserver --help")
	}
	if slices.Contains([]string{"help", "-h", "-help", "--help"}, args[0]) {
		_, err := io.WriteString(stdout, usage)
		return err
	}
	flags := flag.NewFlagSet("devserver "+args[0], flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	port := flags.String("port", "", "port of the gateway")
	data := flags.String("data", defaultData, "directory of databases, logs and credentials")
	bin := flags.String("bin", "bin", "directory of the services' programs")
	root := flags.String("root", ".", "directory of the repository, which lists the services")
	commands := map[string]func() error{
		"run":   func() error { return run(*port, *data, *bin, *root, environ, stdout) },
		"demo":  func() error { return demo(*port, *data, stdout, stderr) },
		"token": func() error { return token(*port, *data, stdout) },
	}
	command, ok := commands[args[0]]
	if !ok {
		return fmt.Errorf("%q is no command; there are run, demo and token. See: devserver --help", args[0])
	}
	if err := flags.Parse(args[1:]); err != nil {
		return fmt.Errorf("%w. See: devserver --help", err)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is one argument too many. See: devserver --help", flags.Arg(0))
	}
	return command()
}
