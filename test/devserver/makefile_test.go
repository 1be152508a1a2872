package main

import (
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMakeHelpListsEveryTarget(t *testing.T) {
	const root = "../.."
	makefile, err := os.ReadFile(root + "/Makefile")
	require.NoError(t, err)
	help, err := exec.CommandContext(within(t), "make", "-C", root, "help").CombinedOutput()
	require.NoError(t, err, string(help))
	targets := regexp.MustCompile(`(?m)^\.PHONY: (\S+)\n\S+:.*## `).FindAllSubmatch(makefile, -1)
	require.NotEmpty(t, targets)
	for _, target := range targets {
		require.Regexp(t, `(?m)^  make `+string(target[1])+` `, string(help))
	}
}
