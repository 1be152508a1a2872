package logging

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func serveLevel(log *Logger, method, target, kind, body string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, target, strings.NewReader(body))
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	recorder := httptest.NewRecorder()
	log.ServeLevel(recorder, request)
	return recorder
}

const form = "application/x-www-form-urlencoded"

func TestLevelForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log, err := New(Default(), true, &out)
		require.NoError(t, err)
		get := func() string {
			return strings.TrimSpace(serveLevel(log, http.MethodGet, "/loglevel", "", "").Body.String())
		}
		require.Equal(t, `{"level":"info","configured":"info"}`, get())

		answer := serveLevel(log, http.MethodPut, "/loglevel", form, "level=debug")
		require.Equal(t, http.StatusOK, answer.Code)
		require.Equal(t, `{"level":"debug","configured":"info","until":"2000-01-01T00:10:00Z"}`, get(), "the clock of synctest begins in 2000")
		require.Equal(t, get(), strings.TrimSpace(answer.Body.String()))
		time.Sleep(temporarily - time.Second)
		require.Equal(t, http.StatusOK, serveLevel(log, http.MethodPut, "/loglevel?level=error", "", "").Code, "the time begins anew")
		time.Sleep(temporarily - time.Second)
		require.Contains(t, get(), `"level":"error"`)

		require.NoError(t, log.SetLevel("warn"), "the file has changed meanwhile")
		require.Contains(t, get(), `{"level":"error","configured":"warn"`)
		time.Sleep(2 * time.Second)
		require.Equal(t, `{"level":"warn","configured":"warn"}`, get())
		require.NoError(t, log.SetLevel("info"))
		require.Equal(t, `{"level":"info","configured":"info"}`, get())

		serveLevel(log, http.MethodPut, "/loglevel", "application/json; charset=utf-8", `{"level":"debug"}`)
		require.NoError(t, log.Close())
		require.Contains(t, out.String(), `"msg":"another log level is in force for a while","level":"debug","for":600`)
		require.Contains(t, out.String(), `"msg":"the configured log level is in force again","level":"warn"`)
	})
}

func TestInvalidLevels(t *testing.T) {
	var out bytes.Buffer
	log, err := New(Default(), true, &out)
	require.NoError(t, err)
	for body, want := range map[string]string{
		"level=loud": "Level: loud is not allowed; it must be debug, info, warn or error", "": `Level: "" is not allowed`, "level=fatal": "Level: fatal",
		"level=debug&x=" + strings.Repeat("x", maxLevelBody): `Level: "" is not allowed`,
	} {
		answer := serveLevel(log, http.MethodPut, "/loglevel", form, body)
		require.Equal(t, http.StatusBadRequest, answer.Code)
		require.Contains(t, answer.Body.String(), want)
	}
	answer := serveLevel(log, http.MethodPut, "/loglevel", "application/json", "debug")
	require.Contains(t, answer.Body.String(), `the body is no JSON such as {"level":"debug"}`)
	answer = serveLevel(log, http.MethodPut, "/loglevel", "application/json", `{"x":"`+strings.Repeat("x", maxLevelBody)+`"}`)
	require.Equal(t, http.StatusBadRequest, answer.Code, "the body is bounded")
	require.Contains(t, serveLevel(log, http.MethodGet, "/loglevel", "", "").Body.String(), `{"level":"info"`)
	require.NoError(t, log.Close())
	require.Empty(t, out.String())
}
