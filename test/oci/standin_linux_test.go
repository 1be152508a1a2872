package oci

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMariaDBStandsIn(t *testing.T) {
	image := madeOf(t, StandInMariaDB)
	t.Run("in Kubernetes", func(t *testing.T) { testMariaDBInKubernetes(t, image) })
	t.Run("rejects what it does not know", func(t *testing.T) {
		rejected := newMariaDB(t, image).start([]string{"MARIADB_DATABASE=blog"}, "mariadbd")
		assert.Equal(t, 1, rejected.Exit(t))
		assert.Contains(t, rejected.Stderr(), "does not know MARIADB_DATABASE")
	})
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

func newMariaDB(t *testing.T, image v1.Image) *container {
	return newContainer(t, image, serverUser, "/var/lib/mysql", "/run/mysqld", "/tmp")
}

// What the chart asks of the official image: its user, a read-only root with
// three writable volumes, accounts from files, and a script.
func testMariaDBInKubernetes(t *testing.T, image v1.Image) {
	c := newMariaDB(t, image)
	c.put("secret/user", "it's \\ secret\n")
	c.put("secret/root", "root secret\n")
	c.put("docker-entrypoint-initdb.d/1.sql", "CREATE DATABASE blog; EXECUTE IMMEDIATE CONCAT('CREATE USER writer@''%'' IDENTIFIED BY ', QUOTE(TRIM(TRAILING '\\n' FROM LOAD_FILE('/secret/user')))); GRANT ALL ON blog.* TO writer@'%'; CREATE TABLE blog.first (id INT); INSERT INTO blog.first VALUES (1);")
	c.put("docker-entrypoint-initdb.d/2.sql", "INSERT INTO blog.first VALUES (2);")
	environ := []string{
		"MARIADB_ROOT_PASSWORD_FILE=/secret/root",
		"MARIADB_ROOT_HOST=localhost", "MARIADB_INITDB_SKIP_TZINFO=1", "MARIADB_AUTO_UPGRADE=1",
	}
	server := c.start(environ, "mariadbd", "--character-set-server=utf8mb4", "--ignore-db-dirs=lost+found")
	as := func(user, password, statement string) (string, error) {
		return server.run("mariadb", "--host=127.0.0.1", "--user="+user, "--password="+password, "--skip-column-names", "-e", statement)
	}
	awaitUp := func() {
		server.await("mariadb", "--host=127.0.0.1", "--user=writer", "--password=it's \\ secret", "-e", "SELECT 1")
	}
	awaitUp()
	_, err := as("writer", "it's \\ secret", "CREATE TABLE blog.second (id INT)")
	assert.NoError(t, err)
	_, err = as("writer", "it's \\ secret", "CREATE DATABASE other")
	assert.Error(t, err, "the user has the rights that the script gives it")
	_, err = as("root", "root secret", "SELECT 1")
	assert.Error(t, err, "root is told to be local")
	_, err = server.run("mariadb", "--user=root", "-e", "SELECT 1")
	assert.Error(t, err, "no root without a password is left over")
	_, err = server.run("mariadb", "--user=root", "--password=root secret", "-e", "SELECT 1")
	assert.NoError(t, err)
	server.stop()

	// A second start finds its data, and runs no script again.
	server = c.start(environ, "mariadbd")
	awaitUp()
	ids, err := as("writer", "it's \\ secret", "SELECT GROUP_CONCAT(id ORDER BY id) FROM blog.first")
	require.NoError(t, err)
	assert.Equal(t, "1,2\n", ids)
	server.stop()
}

func TestRedisServesAsTheOfficialImageDoes(t *testing.T) {
	c := newContainer(t, madeOf(t, StandInRedis), serverUser, "/data")
	c.put("secret/redis.conf", "requirepass secret\n")
	server := c.start(nil, "redis-server", "/secret/redis.conf", "--save", "", "--appendonly", "no")
	ask := func(words ...string) error {
		_, err := server.run("redis-cli", append([]string{"-a", "secret", "-e"}, words...)...)
		return err
	}
	server.await("redis-cli", "-a", "secret", "-e", "PING")
	assert.NoError(t, ask("SET", "name", "value"))
	assert.NoError(t, ask("SAVE"), "/data is where it works, and writable")
	_, err := server.run("redis-cli", "-e", "PING")
	assert.ErrorContains(t, err, "NOAUTH")
	saved, err := os.Stat(filepath.Join(c.dir, "volumes/data/dump.rdb"))
	require.NoError(t, err)
	assert.NotZero(t, saved.Size())
	server.stop()
}
