//go:build tools

// Package s3 is a module of its own for the S3 server that tests run, so that nothing else
// depends on what it needs.
package s3

import _ "github.com/versity/versitygw/cmd/versitygw"
