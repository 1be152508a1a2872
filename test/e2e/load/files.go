package load

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
)

// fileSize is the size of a file in bytes. It is more than what connections and proxies
// buffer, so that a slow transfer keeps the service busy.
const fileSize = 2 << 20

// boundary separates the parts of an upload. No file contains it.
const boundary = "boundary-of-the-load"

// FileName returns the name under which a file is uploaded, for a name of Name. File names
// have no slashes.
func FileName(name string) string { return strings.ReplaceAll(name, "/", "+") }

// ParseFileName returns the argument of FileName.
func ParseFileName(name string) string { return strings.ReplaceAll(name, "+", "/") }

// FileContent returns the content of the file with a name of Name.
func FileContent(name string) []byte {
	line := name + "\n"
	return bytes.Repeat([]byte(line), fileSize/len(line)+1)[:fileSize]
}

// files uploads files and downloads them again, both slowly.
func (w *worker) files(ctx context.Context) {
	for w.pause(ctx, w.think()) {
		w.uploadTime = rand.N(w.load.config.MaxDuration / 2)
		if id, name, ok := w.writeFile(ctx); ok && ctx.Err() == nil {
			w.readFile(ctx, id, name)
		}
	}
}

func (w *worker) writeFile(ctx context.Context) (id uint64, name string, ok bool) {
	seq := w.ledger.beginFile()
	name = Name(w.load.config.Run, w.load.config.Source, w.name, seq)
	sent := request{method: http.MethodPost, path: "/api/v1/file/upload", contentType: "multipart/form-data; boundary=" + boundary, body: upload(name), uploadTime: w.uploadTime}
	got, ok := w.post(ctx, w.load.config.Articles, sent, name)
	if !ok {
		return 0, name, false
	}
	var envelope struct {
		Data struct {
			Files []struct {
				ID uint64 `json:"file_id"`
			}
		}
	}
	if err := json.Unmarshal(got.body, &envelope); err != nil || len(envelope.Data.Files) != 1 || envelope.Data.Files[0].ID == 0 {
		w.load.results.wrong(w.name, got, fmt.Sprintf("201 without a file_id: %.200s", got.body))
		return 0, name, false
	}
	id = envelope.Data.Files[0].ID
	w.ledger.ackFile(seq, id)
	return id, name, true
}

// upload returns the body of the upload of a file.
func upload(name string) []byte {
	var body bytes.Buffer
	fmt.Fprintf(&body, "--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=%q\r\n\r\n", boundary, FileName(name)+".txt")
	body.Write(FileContent(name))
	fmt.Fprintf(&body, "\r\n--%s--\r\n", boundary)
	return body.Bytes()
}

func (w *worker) readFile(ctx context.Context, id uint64, name string) {
	r := request{method: http.MethodGet, path: fmt.Sprintf("/api/v1/file/download/%d", id), downloadTime: rand.N(w.load.config.MaxDuration / 2)}
	got, ok := w.exchange(ctx, w.load.config.Articles, r, http.StatusOK)
	if ok && sha256.Sum256(got.body) != sha256.Sum256(FileContent(name)) {
		w.load.results.wrong(w.name, got, fmt.Sprintf("want the %d bytes of file %d, got %d others", fileSize, id, len(got.body)))
	}
}
