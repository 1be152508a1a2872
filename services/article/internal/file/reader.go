package file

import (
	"context"
	"errors"
	"io"
)

var errSeek = errors.New("seek to before the beginning of a file")

// reader reads the bytes of a file. It opens them where the first Read after a Seek begins.
type reader struct {
	ctx    context.Context
	blobs  Blobs
	file   File
	at     int64
	opened io.ReadCloser // nil if it has to be opened
}

// Read implements io.Reader. Bytes that end early are an error.
func (r *reader) Read(part []byte) (int, error) {
	if r.at >= r.file.Size {
		return 0, io.EOF
	}
	if r.opened == nil {
		var err error
		if r.opened, err = r.blobs.Open(r.ctx, r.file.Digest, r.at); err != nil {
			return 0, err
		}
	}
	n, err := r.opened.Read(part)
	r.at += int64(n)
	if errors.Is(err, io.EOF) && r.at < r.file.Size {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Seek implements io.Seeker.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.file.Size
	}
	if offset < 0 {
		return 0, errSeek
	}
	if offset != r.at {
		_ = r.Close()
		r.at = offset
	}
	return offset, nil
}

// Close implements io.Closer.
func (r *reader) Close() error {
	if r.opened == nil {
		return nil
	}
	err := r.opened.Close()
	r.opened = nil
	return err
}
