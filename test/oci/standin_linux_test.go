package oci

import (
	"bytes"
	"compress/gzip"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMariaDBStandsIn(t *testing.T) {
	needContainers(t)
	image := madeOf(t, StandInMariaDB)
	t.Run("in Kubernetes", func(t *testing.T) { testMariaDBInKubernetes(t, image) })
	t.Run("leaves root", func(t *testing.T) { testMariaDBLeavesRoot(t, image) })
	t.Run("wants a root password", func(t *testing.T) { testMariaDBWantsARootPassword(t, image) })
}

// madeOf returns a stand-in, of programs that may be missing here.
func madeOf(t *testing.T, standIn func() (v1.Image, error)) v1.Image {
	t.Helper()
	needContainers(t)
	image, err := standIn()
	if err != nil && strings.Contains(err.Error(), "is not installed") && os.Getenv("ACHILLES_TEST_REQUIRE") != "all" {
		t.Skip(err)
	}
	require.NoError(t, err)
	return image
}

// What the chart asks of the official image: its user, a read-only root with
// three writable volumes, accounts from files, and a script.
func testMariaDBInKubernetes(t *testing.T, image v1.Image) {
	c := newContainer(t, image)
	c.user = serverUser
	c.volumes = []string{"/var/lib/mysql", "/run/mysqld", "/tmp"}
	c.put("secret/user", "it's \\ secret\n")
	c.put("secret/root", "root secret\n")
	c.put("docker-entrypoint-initdb.d/1.sql", "CREATE TABLE blog.first (id INT); INSERT INTO blog.first VALUES (1);")
	c.put("docker-entrypoint-initdb.d/2.sql.gz", packed(t, "INSERT INTO first VALUES (2);")) // in the database that was asked for
	c.put("docker-entrypoint-initdb.d/3.sh", `mariadb -uroot -p"$(cat /secret/root)" -e 'INSERT INTO blog.first VALUES (3)'`)
	c.put("docker-entrypoint-initdb.d/README", "not run")
	environ := []string{
		"MARIADB_DATABASE=blog", "MARIADB_USER=writer", "MARIADB_PASSWORD_FILE=/secret/user",
		"MARIADB_ROOT_PASSWORD_FILE=/secret/root", "MARIADB_ROOT_HOST=localhost", "MARIADB_INITDB_SKIP_TZINFO=1",
	}
	port := freePort(t)
	first := c.start(environ, "--port="+port, "--character-set-server=utf8mb4", "--ignore-db-dirs=lost+found")
	first.awaitHealthy()

	db := open(t, "writer", "it's \\ secret", port)
	var ids string
	require.NoError(t, db.QueryRow("SELECT GROUP_CONCAT(id ORDER BY id) FROM first").Scan(&ids))
	assert.Equal(t, "1,2,3", ids)
	_, err := db.Exec("CREATE TABLE second (id INT)")
	assert.NoError(t, err, "the user owns its database")
	_, err = db.Exec("CREATE DATABASE other")
	assert.Error(t, err, "the user owns one database only")
	assert.Error(t, open(t, "root", "root secret", port).Ping(), "root is told to be local")
	assert.Error(t, open(t, "root", "", port).Ping(), "no root without a password is left over")
	assert.NoError(t, first.run("mariadb", "-uroot", "-proot secret", "-e", "SELECT 1"))
	assert.NoError(t, first.run("mariadb-admin", "-uroot", "-proot secret", "ping"))
	assert.ErrorContains(t, first.run("healthcheck.sh", "--galera_online"), "does not know --galera_online")
	first.stop()

	// A second start finds its data, and runs no script again.
	second := c.start(environ, "--port="+port)
	second.awaitHealthy()
	var count int
	require.NoError(t, db.QueryRow("SELECT COUNT(*) FROM first").Scan(&count))
	assert.Equal(t, 3, count)
	second.stop()
}

func testMariaDBLeavesRoot(t *testing.T, image v1.Image) {
	c := newContainer(t, image)
	c.volumes = []string{"/var/lib/mysql", "/run/mysqld", "/tmp"}
	port := freePort(t)
	running := c.start([]string{"MYSQL_ROOT_PASSWORD=secret", "MYSQL_DATABASE=blog"}, "mariadbd", "--port="+port)
	running.awaitHealthy()
	assert.NoError(t, open(t, "root", "secret", port).Ping(), "root may come from anywhere")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", running.process.Process.Pid))
	require.NoError(t, err)
	assert.Contains(t, string(status), "Uid:\t999\t999\t999\t999")
	running.stop()
}

func testMariaDBWantsARootPassword(t *testing.T, image v1.Image) {
	c := newContainer(t, image)
	c.volumes = []string{"/var/lib/mysql", "/run/mysqld", "/tmp"}
	running := c.start(nil, "mariadbd")
	assert.Error(t, <-running.ended)
	assert.Contains(t, running.output.String(), "give MARIADB_ROOT_PASSWORD")
}

func TestRedisServesAsTheOfficialImageDoes(t *testing.T) {
	c := newContainer(t, madeOf(t, StandInRedis))
	c.user = serverUser
	c.volumes = []string{"/data"}
	port := freePort(t)
	c.put("secret/redis.conf", "port "+port+"\nrequirepass secret\n")
	running := c.start(nil, "redis-server", "/secret/redis.conf", "--save", "", "--appendonly", "no")
	ask := func(words ...string) error {
		return running.run("redis-cli", append([]string{"-p", port, "-a", "secret", "-e"}, words...)...)
	}
	require.Eventually(t, func() bool { return ask("PING") == nil }, 20*time.Second, 50*time.Millisecond, "%s", &running.output)
	assert.NoError(t, ask("SET", "name", "value"))
	assert.NoError(t, ask("SAVE"), "/data is where it works, and writable")
	assert.ErrorContains(t, running.run("redis-cli", "-p", port, "-e", "PING"), "NOAUTH")
	saved, err := os.Stat(filepath.Join(c.dir, "volumes/data/dump.rdb"))
	require.NoError(t, err)
	assert.NotZero(t, saved.Size())
	running.stop()
}

func open(t *testing.T, user, password, port string) *sql.DB {
	config := mysql.NewConfig()
	config.User, config.Passwd, config.Net, config.Addr, config.DBName = user, password, "tcp", "127.0.0.1:"+port, "blog"
	connector, err := mysql.NewConnector(config)
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func packed(t *testing.T, text string) string {
	var out bytes.Buffer
	writer := gzip.NewWriter(&out)
	_, err := io.WriteString(writer, text)
	require.NoError(t, errors.Join(err, writer.Close()))
	return out.String()
}
