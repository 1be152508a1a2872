package runner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/achilles-blog/achilles/test/e2e/builds"
	"github.com/achilles-blog/achilles/test/e2e/cluster"
)

const (
	bucket = "files"
	// filesSecret is the name of the Secret with the credentials of the storage.
	filesSecret = "files"
	// storageTimeout is the timeout for the start of the S3 server.
	storageTimeout = 30 * time.Second
)

// storeFiles starts an S3 server for the files unless one is given, and returns how to stop
// it. Where neither can be, no files are stored.
func (r *Runner) storeFiles(ctx context.Context) (stop func(), err error) {
	if r.cluster.S3.Listen == "" {
		if r.cluster.S3.URL == "" {
			r.log("skipped: files (no S3 server is described)")
			return func() {}, nil
		}
		r.mixes.storeFiles()
		return func() {}, nil
	}
	program, err := builds.S3(ctx, r.options.Root, r.folder)
	if err != nil {
		return nil, err
	}
	r.cluster.S3, stop, err = startS3(ctx, program, r.folder, r.cluster.S3.Listen)
	r.mixes.storeFiles()
	return stop, err
}

// storeFiles adds workers that upload and download files.
func (m *mixes) storeFiles() { m.ingress.Files, m.node.Files = 2, 1 }

// startS3 starts an S3 server with an empty bucket.
func startS3(ctx context.Context, program, folder, listen string) (s3 cluster.S3, stop func(), err error) {
	data, metadata := filepath.Join(folder, "s3"), filepath.Join(folder, "metadata-of-s3")
	if err := errors.Join(os.MkdirAll(filepath.Join(data, bucket), 0o750), os.MkdirAll(metadata, 0o750)); err != nil {
		return s3, nil, err
	}
	s3 = cluster.S3{
		URL:       fmt.Sprintf("s3://%s?region=us-east-1&endpoint=%s&use_path_style=true", bucket, url.QueryEscape("http://"+listen)),
		AccessKey: "e2e", SecretKey: "secret of the e2e test",
	}
	server := exec.CommandContext(context.WithoutCancel(ctx), program, "--quiet", "--port", listen, "posix", "--sidecar", metadata, data) // #nosec G204 -- what builds.S3 has built
	server.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s3.AccessKey, "ROOT_SECRET_KEY="+s3.SecretKey)
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		return s3, nil, err
	}
	stop = func() { _ = server.Process.Kill(); _ = server.Wait() }
	for until := time.Now().Add(storageTimeout); ; {
		conn, err := net.Dial("tcp", listen)
		if err == nil {
			return s3, stop, conn.Close()
		}
		if time.Now().After(until) {
			stop()
			return s3, nil, fmt.Errorf("the S3 server did not start within %s: %w", storageTimeout, err)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			stop()
			return s3, nil, err
		}
	}
}

// files returns the values of the chart for the storage of files. A transfer may take as long
// as a rollout waits for a request.
func (s *system) files() map[string]any {
	if s.cluster.S3.URL == "" {
		return map[string]any{"storage": "none"}
	}
	return map[string]any{
		"storage": "s3", "transferSeconds": int(s.window.Seconds()),
		"s3": map[string]any{"url": s.cluster.S3.URL, "existingSecret": filesSecret},
	}
}
