// Command images makes the images of compiled programs, for several platforms,
// without a container engine. `make images ENGINE=oci` compiles the programs and
// runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/achilles-blog/achilles/test/oci"
)

const usage = `Usage: images --dir DIR --platforms linux/amd64,linux/arm64 --tag TAG [flags] NAME...

Takes the program DIR/PLATFORM/NAME for each platform and writes their image
into DIR/NAME.tar. See also: make help
`

// prefix is before the names of images that are not pushed.
const prefix = "achilles-blog"

type options struct {
	dir, tag, push string
	platforms      []v1.Platform
	build          oci.Build
	names          []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := images(ctx, os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(usage)
	case err != nil:
		fmt.Fprintf(os.Stderr, "achilles: %v\n", err)
		os.Exit(1)
	}
}

func images(ctx context.Context, args []string, stdout io.Writer) error {
	options, err := parse(args)
	if err != nil {
		return err
	}
	for _, name := range options.names {
		if err := options.image(ctx, name, stdout); err != nil {
			return err
		}
	}
	return nil
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("images", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.dir, "dir", "", "directory of the programs and the archives")
	flags.StringVar(&o.tag, "tag", "", "tag of the images")
	flags.StringVar(&o.push, "push", "", "registry and prefix to push to")
	flags.StringVar(&o.build.Version, "version", "dev", "version of the programs")
	flags.StringVar(&o.build.Commit, "commit", "unknown", "commit of the programs")
	created := flags.String("created", "", "time of the build, RFC 3339")
	platforms := flags.String("platforms", "", "platforms, separated by commas")
	if err := flags.Parse(args); err != nil {
		return o, fmt.Errorf("%w. See: images --help", err)
	}
	o.names = flags.Args()
	if o.dir == "" || o.tag == "" || *platforms == "" || len(o.names) == 0 {
		return o, errors.New("--dir, --tag, --platforms and the names of the programs are needed. See: images --help")
	}
	var err error
	if o.build.Created, err = time.Parse(time.RFC3339, *created); err != nil {
		return o, fmt.Errorf("--created %q is not a time such as 2026-01-02T03:04:05Z", *created)
	}
	for text := range strings.SplitSeq(*platforms, ",") {
		platform, err := v1.ParsePlatform(text)
		if err != nil || platform.OS != "linux" || platform.Architecture == "" {
			return o, fmt.Errorf("PLATFORMS has %q, which is not a platform such as linux/amd64", text)
		}
		o.platforms = append(o.platforms, *platform)
	}
	return o, nil
}

// image writes the image of one program, and pushes it if that is wanted.
func (o options) image(ctx context.Context, name string, stdout io.Writer) error {
	built := make([]v1.Image, len(o.platforms))
	for i, platform := range o.platforms {
		var err error
		program := filepath.Join(o.dir, filepath.FromSlash(platform.String()), name)
		if built[i], err = oci.Service(program, name, platform, o.build); err != nil {
			return err
		}
	}
	index, err := oci.Index(built...)
	if err != nil {
		return err
	}
	archive := filepath.Join(o.dir, name+".tar")
	if err := oci.WriteArchive(archive, index, path.Join(prefix, name)+":"+o.tag); err != nil {
		return err
	}
	if o.push == "" {
		return nil
	}
	ref := path.Join(o.push, name) + ":" + o.tag
	if err := oci.Push(ctx, index, ref, false); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(stdout, ref)
	return nil
}
