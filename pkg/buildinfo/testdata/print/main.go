// Command print shows its own build: as a line, and as JSON on a second line.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/achilles-blog/achilles/pkg/buildinfo"
)

func main() {
	fmt.Println(buildinfo.Get())
	if err := json.NewEncoder(os.Stdout).Encode(buildinfo.Get()); err != nil {
		os.Exit(1)
	}
}
