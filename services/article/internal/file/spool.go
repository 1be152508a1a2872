package file

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// Spooled is a file that was received and may be stored. It must be closed.
type Spooled struct {
	File
	content *os.File
}

// Close removes the bytes.
func (s *Spooled) Close() error { return s.content.Close() }

// errSpool wraps an error of the directory for files that are being received.
var errSpool = errors.New("a file could not be written to Files.SpoolDir")

func spoolFailed(err error) error {
	if !errors.Is(err, errSpool) {
		err = fmt.Errorf("%w: %w", errSpool, err)
	}
	return errcode.NewUnavailable(err, errcode.Text{
		ZH:       "服务器无法暂存上传的文件, 磁盘可能已满 (设置 Files.SpoolDir)",
		EN:       "the server can't keep the file while it is received; its disk may be full (setting Files.SpoolDir)",
		ZHHantTW: "伺服器無法暫存上傳的檔案, 磁碟可能已滿 (設定 Files.SpoolDir)",
	})
}

// spoolWriter tells errors of the disk from those of the client.
type spoolWriter struct{ *os.File }

// Write implements io.Writer.
func (w spoolWriter) Write(part []byte) (int, error) {
	n, err := w.File.Write(part)
	if err != nil {
		err = fmt.Errorf("%w: %w", errSpool, err)
	}
	return n, err
}

// Spool receives a file from r and judges it. Its bytes are in a temporary file that has no
// name, so nothing stays behind, even after a crash. The error of a file that may not be
// stored is an errcode.Error with FileTooLarge, FileTypeRefused, TooManyPixels or
// InvalidParams that names it; other errors are those of r, or Unavailable.
func (s *Service) Spool(_ context.Context, name string, r io.Reader) (_ *Spooled, err error) {
	content, err := os.CreateTemp(s.limits.SpoolDir, "achilles-file-*")
	if err != nil {
		return nil, spoolFailed(err)
	}
	spooled := &Spooled{File: File{Name: CleanName(name)}, content: content}
	defer func() {
		if err != nil {
			_ = spooled.Close()
		}
	}()
	if err := os.Remove(content.Name()); err != nil {
		return nil, spoolFailed(err)
	}
	if err := s.receive(spooled, r); err != nil {
		return nil, err
	}
	return spooled, s.judge(spooled)
}

// receive sets the size and the digest.
func (s *Service) receive(to *Spooled, r io.Reader) (err error) {
	hash := sha256.New()
	to.Size, err = io.Copy(io.MultiWriter(spoolWriter{to.content}, hash), io.LimitReader(r, s.limits.FileBytes+1))
	switch {
	case errors.Is(err, errSpool):
		return spoolFailed(err)
	case err != nil:
		return err
	case to.Size > s.limits.FileBytes:
		return tooLarge(to.Name, s.limits.FileBytes)
	case to.Size == 0:
		return empty(to.Name)
	}
	hash.Sum(to.Digest[:0])
	return nil
}

// judge sets the type and the dimensions, and returns an error unless the file may be stored.
func (s *Service) judge(to *Spooled) error {
	media, err := s.inspector.Inspect(to.content, to.Size)
	to.Type, to.Width, to.Height = media.Type, media.Width, media.Height
	switch {
	case !slices.Contains(s.limits.Types, media.Type):
		return typeRefused(to.Name, media.Type, s.limits.Types)
	case errors.Is(err, ErrMalformed):
		return malformed(to.Name, media.Type)
	case err != nil:
		return spoolFailed(err)
	case int64(media.Width)*int64(media.Height) > s.limits.Pixels:
		return tooManyPixels(to.File, s.limits.Pixels)
	case !s.limits.RemovePosition:
		return nil
	}
	return s.removePosition(to)
}

// removePosition removes the position of a photo, and sets its digest anew.
func (s *Service) removePosition(to *Spooled) error {
	err := s.inspector.RemovePosition(to.content, to.Size, to.Type)
	if errors.Is(err, ErrMalformed) {
		return malformed(to.Name, to.Type)
	}
	if err == nil {
		hash := sha256.New()
		_, err = io.Copy(hash, io.NewSectionReader(to.content, 0, to.Size))
		hash.Sum(to.Digest[:0])
	}
	if err != nil {
		return spoolFailed(err)
	}
	return nil
}
