package process_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/process"
)

// transferSize is the size of a file that doesn't fit into the buffers of a connection.
const transferSize = 8 << 20

// An upload and a download that a shutdown meets half-way finish, and the file is there
// afterwards. What begins during the drain is served too.
func TestTransfersOutlastShutdown(t *testing.T) {
	p := newPair(t, mysql, drain)
	p.storing(t)
	old := process.Serve(t, p.articleProgram, p.articleSettings)
	old.AwaitReady(t)
	before := uploadFile(t, old, "before")

	upload := beginUpload(t, old, "during")
	download := beginDownload(t, old, before)
	old.Signal(t, sigterm)
	old.AwaitLog(t, draining)
	late := uploadFile(t, old, "late")
	old.AwaitLog(t, shuttingDown)
	during := upload()
	require.Equal(t, transfer("before"), download())
	require.Zero(t, old.Exit(t), old.Stderr())

	next := process.Serve(t, p.articleProgram, p.articleSettings)
	next.AwaitReady(t)
	for name, url := range map[string]string{"before": before, "during": during, "late": late} {
		require.Equal(t, transfer(name), beginDownload(t, next, url)(), name)
	}
}

// A service that is killed during an upload keeps nothing of it, and an upload that was
// acknowledged stays.
func TestKilledUpload(t *testing.T) {
	p := newPair(t, mysql, nil)
	p.storing(t)
	old := process.Serve(t, p.articleProgram, p.articleSettings)
	old.AwaitReady(t)
	before := uploadFile(t, old, "before")
	beginUpload(t, old, "during")
	old.Kill()
	next := process.Serve(t, p.articleProgram, p.articleSettings)
	next.AwaitReady(t)
	require.Equal(t, transfer("before"), beginDownload(t, next, before)())
	require.Equal(t, []string{"before.txt"}, rows[string](t, p.articleDatabase, "SELECT name FROM blog_file"))
}

// transfer returns the content of the file with a name.
func transfer(name string) string { return strings.Repeat(name+"\n", transferSize/(len(name)+1)) }

// uploadFile uploads a file and returns its path.
func uploadFile(t *testing.T, p *process.Process, name string) string {
	t.Helper()
	return beginUpload(t, p, name)()
}

// beginUpload sends half of an upload. The function that it returns sends the rest, and
// returns the path of the file.
func beginUpload(t *testing.T, p *process.Process, name string) (finish func() string) {
	t.Helper()
	const boundary = "boundary"
	body := fmt.Appendf(nil, "--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=\"%s.txt\"\r\n\r\n%s\r\n--%[1]s--\r\n", boundary, name, transfer(name))
	conn := dial(t, p)
	conn.Header.Set("Content-Type", "multipart/form-data; boundary="+boundary)
	conn.Header.Set("Content-Length", fmt.Sprint(len(body)))
	require.NoError(t, conn.Send("POST", "/api/v1/file/upload", body[:len(body)/2], 0))
	return func() string {
		_, err := conn.Write(body[len(body)/2:])
		require.NoError(t, err)
		answer, err := conn.Receive("POST")
		require.NoError(t, err)
		require.Equal(t, http.StatusCreated, answer.Status, string(answer.Body))
		var uploaded struct {
			Data struct {
				Files []struct{ URL string }
			}
		}
		require.NoError(t, answer.JSON(&uploaded))
		require.Len(t, uploaded.Data.Files, 1)
		return uploaded.Data.Files[0].URL
	}
}

// beginDownload reads the first bytes of a download. The function that it returns reads
// the rest, and returns the file.
func beginDownload(t *testing.T, p *process.Process, path string) (finish func() string) {
	t.Helper()
	conn := dial(t, p)
	require.NoError(t, conn.Conn.(*net.TCPConn).SetReadBuffer(64<<10))
	require.NoError(t, conn.Send("GET", path, nil, 0))
	response, err := conn.Begin("GET")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	var content bytes.Buffer
	_, err = io.CopyN(&content, response.Body, 1000)
	require.NoError(t, err)
	return func() string {
		_, err := content.ReadFrom(response.Body)
		require.NoError(t, err)
		return content.String()
	}
}

func dial(t *testing.T, p *process.Process) *process.Conn {
	t.Helper()
	conn, err := process.Dial(p.Addr(t))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
