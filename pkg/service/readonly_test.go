package service_test

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/service"
)

// While a service is read-only, all writes get 503 with a code of its own, and everything else
// goes on.
func TestReadOnly(t *testing.T) {
	c := migrated(t)
	c.Server.ReadOnly = true
	r := run(t, command.Run[service.Config]{Config: c}, things)
	defer r.stop(t)
	r.awaitReady(t)
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		for language, want := range map[string]string{
			"zh": "服务暂时只读, 请稍后重试", "en": "read-only at the moment, try again later", "zh_Hant_TW": "服務暫時唯讀, 請稍後再試",
		} {
			request, err := http.NewRequestWithContext(t.Context(), method, r.url+"/things", nil)
			require.NoError(t, err)
			request.Header.Set("Locale", language)
			response, err := http.DefaultClient.Do(request)
			require.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			var problem responses.Problem
			require.NoError(t, json.Unmarshal(body, &problem))
			require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
			require.Equal(t, responses.Problem{Code: 10000022, Msg: want, Details: []string{}, Errors: []responses.FieldError{}}, problem)
			require.Equal(t, "5", response.Header.Get("Retry-After"))
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		require.Equal(t, http.StatusOK, send(t, method, r.url+"/things").StatusCode)
	}
	require.Equal(t, http.StatusOK, send(t, http.MethodGet, r.url+"/readyz").StatusCode)
	require.Equal(t, http.StatusMethodNotAllowed, send(t, http.MethodPost, r.url+"/version").StatusCode, "no such route, whatever the mode")
	require.Contains(t, r.admin(t, "/metrics"), "achilles_read_only{reason=\"database\"} 0\nachilles_read_only{reason=\"settings\"} 1\n")
}

// A database that has been read-only is looked at more often than others, so that writes go on
// soon.
func TestWritesGoOnSoonAfterTheDatabaseIsWritable(t *testing.T) {
	server := dbtest.NewMySQL(t)
	c := config(t)
	c.Database = server.Config(t)
	require.NoError(t, service.Migrate(t.Context(), c, migrations, io.Discard))
	admin := dbtest.Open(t, c.Database)
	require.NoError(t, admin.Gorm(t.Context()).Exec("SET GLOBAL read_only = ON").Error)
	c.Health.CheckInterval, c.Health.StaleAfter = time.Hour, 2*time.Hour
	r := run(t, command.Run[service.Config]{Config: c}, things)
	defer r.stop(t)
	r.awaitReady(t)
	post := func() int { return send(t, http.MethodPost, r.url+"/things").StatusCode }
	require.Eventually(t, func() bool { return post() == http.StatusServiceUnavailable }, patience, time.Millisecond)
	require.NoError(t, admin.Gorm(t.Context()).Exec("SET GLOBAL read_only = OFF").Error)
	require.Eventually(t, func() bool { return post() == http.StatusOK }, patience, time.Millisecond)
}

// The log level changes for a while on the admin port, and not on that of clients.
func TestLogLevelOnTheAdminPort(t *testing.T) {
	r := run(t, command.Run[service.Config]{Config: migrated(t)}, things)
	defer r.stop(t)
	r.awaitReady(t)
	admin := "http://" + matches(adminLine, r.log.String())[0]
	require.Equal(t, http.StatusOK, send(t, http.MethodPut, admin+"/loglevel?level=debug").StatusCode)
	require.Contains(t, r.admin(t, "/loglevel"), `{"level":"debug","configured":"info","until":"`)
	r.Log.Debug("whispered")
	r.await(t, "whispered")
	require.Equal(t, http.StatusBadRequest, send(t, http.MethodPut, admin+"/loglevel?level=loud").StatusCode)
	require.Equal(t, http.StatusMethodNotAllowed, send(t, http.MethodPost, admin+"/loglevel?level=info").StatusCode)
	require.Equal(t, http.StatusNotFound, send(t, http.MethodPut, r.url+"/loglevel?level=info").StatusCode)
}
