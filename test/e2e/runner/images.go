package runner

import (
	"context"
	"fmt"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/achilles-blog/achilles/test/oci"
)

// push pushes the image of a static program to the registry.
func (r *Runner) push(ctx context.Context, program, name, version string) error {
	image, err := oci.Service(program, name, v1.Platform{OS: "linux", Architecture: runtime.GOARCH}, oci.Build{Version: version, Created: time.Unix(0, 0)})
	if err != nil {
		return err
	}
	return oci.Push(ctx, image, r.cluster.Push(name+":"+version), r.cluster.Insecure)
}

// pushStandIns pushes substitutes for the official images of MariaDB and Redis, for
// clusters that cannot pull these.
func (r *Runner) pushStandIns(ctx context.Context) error {
	for name, make := range map[string]func() (v1.Image, error){"mariadb": oci.StandInMariaDB, "redis": oci.StandInRedis} {
		image, err := make()
		if err != nil {
			return fmt.Errorf("stand-in for the image %s: %w", name, err)
		}
		if err := oci.Push(ctx, image, r.cluster.Push(name+":"+current), r.cluster.Insecure); err != nil {
			return err
		}
	}
	return nil
}
