// Command tag is the tag service of Achilles.
package main

import (
	"os"

	"github.com/achilles-blog/achilles/services/tag/internal/bootstrap"
)

func main() {
	os.Exit(bootstrap.Command().Main(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}
