package oci

import (
	"bufio"
	"bytes"
	_ "embed" // the entrypoint
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// serverUser is the user of both servers in their official images.
const serverUser = 999

// shell lists the programs that the scripts in the images call.
var shell = []string{
	"sh", "bash", "cat", "chmod", "chown", "cp", "date", "dirname", "env", "grep", "head", "hostname", "id", "ls", "mkdir", "mv",
	"printf", "rm", "sed", "sleep", "sort", "tail", "test", "touch", "tr", "true", "uname",
}

//go:embed entrypoint.sh
var entrypoint []byte

// StandInMariaDB returns an image that does what the chart and the overlays need
// of the official mariadb image, with the server of this machine, for clusters
// that cannot pull images. It needs Debian's mariadb-server.
func StandInMariaDB() (v1.Image, error) {
	const data, run = "var/lib/mysql", "run/mysqld"
	in := standIn{
		name: "mariadb", account: "mysql", debian: "mariadb-server",
		programs:    []string{"mariadbd", "mariadb", "mariadb-admin", "mariadb-install-db", "my_print_defaults", "resolveip"},
		directories: []string{"/usr/share/mysql", "/usr/lib/mysql/plugin"},
		files: []file{
			{path: data, mode: fs.ModeDir | 0o750, owner: serverUser},
			{path: run, mode: fs.ModeDir | fs.ModeSticky | 0o777, owner: serverUser},
			{path: "docker-entrypoint-initdb.d", mode: fs.ModeDir | 0o755},
			{path: "etc/mysql/conf.d", mode: fs.ModeDir | 0o755},
			{path: "etc/mysql/mariadb.conf.d", mode: fs.ModeDir | 0o755},
			{path: "etc/mysql/my.cnf", mode: 0o644, body: []byte(mariadbSettings)},
		},
	}
	return in.image(v1.Config{
		WorkingDir: "/", Cmd: []string{"mariadbd"}, Env: []string{searchPath, "LANG=C.UTF-8"},
		ExposedPorts: map[string]struct{}{"3306/tcp": {}}, Volumes: map[string]struct{}{"/" + data: {}},
	})
}

// The official image's: names are not resolved, and files may be mounted.
const mariadbSettings = `[client-server]
socket = /run/mysqld/mysqld.sock
!includedir /etc/mysql/mariadb.conf.d/
!includedir /etc/mysql/conf.d/

[mariadbd]
host-cache-size = 0
skip-name-resolve
`

// StandInRedis returns an image that does what the official redis image does,
// as StandInMariaDB does. It needs Debian's redis-server.
func StandInRedis() (v1.Image, error) {
	const data = "data"
	in := standIn{
		name: "redis", account: "redis", debian: "redis-server",
		programs: []string{"redis-server", "redis-cli"},
		files:    []file{{path: data, mode: fs.ModeDir | 0o755, owner: serverUser}},
	}
	return in.image(v1.Config{
		WorkingDir: "/" + data, Cmd: []string{"redis-server"}, Env: []string{searchPath},
		ExposedPorts: map[string]struct{}{"6379/tcp": {}}, Volumes: map[string]struct{}{"/" + data: {}},
	})
}

// standIn collects the files of an image. A path is stored once.
type standIn struct {
	name, account string
	debian        string // the package that the programs are from
	programs      []string
	directories   []string
	files         []file
}

func (s standIn) image(config v1.Config) (v1.Image, error) {
	if err := s.collect(); err != nil {
		return nil, fmt.Errorf("the stand-in for the image %s: %w", s.name, err)
	}
	config.Entrypoint = []string{"docker-entrypoint.sh"}
	return image(s.files, v1.Platform{OS: "linux", Architecture: runtime.GOARCH}, config, time.Unix(0, 0).UTC())
}

func (s *standIn) collect() error {
	s.base()
	for _, program := range append(s.programs, shell...) {
		if err := s.addProgram(program); err != nil {
			return err
		}
	}
	for _, directory := range s.directories {
		if err := s.addDirectory(directory); err != nil {
			return err
		}
	}
	return nil
}

// base adds the links and the users of a Debian root.
func (s *standIn) base() {
	for _, old := range []string{"bin", "lib", "lib64", "sbin"} {
		s.files = append(s.files, file{path: old, mode: fs.ModeSymlink | 0o777, body: []byte("usr/" + old)})
	}
	users := fmt.Sprintf("root:x:0:0:root:/root:/bin/bash\n%s:x:%d:%[2]d::/nonexistent:/bin/sh\n", s.account, serverUser)
	s.files = append(s.files,
		file{path: "etc/passwd", mode: 0o644, body: []byte(users)},
		file{path: "etc/group", mode: 0o644, body: fmt.Appendf(nil, "root:x:0:\n%s:x:%d:\n", s.account, serverUser)},
		file{path: "etc/nsswitch.conf", mode: 0o644, body: []byte("passwd: files\ngroup: files\nhosts: files dns\n")},
		file{path: "usr/local/bin/docker-entrypoint.sh", mode: 0o755, body: entrypoint},
		file{path: "tmp", mode: fs.ModeDir | fs.ModeSticky | 0o777},
		file{path: "var/run", mode: fs.ModeSymlink | 0o777, body: []byte("../run")},
	)
}

// addProgram adds a program and the shared libraries it needs.
func (s *standIn) addProgram(name string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name) // where only root's PATH looks
	}
	if err != nil {
		return fmt.Errorf("%s is not installed (Debian: %s)", name, s.debian)
	}
	if err := s.addFile(path, path); err != nil {
		return err
	}
	return s.addLibraries(path)
}

// addLibraries adds the libraries that ldd lists: "libc.so.6 => /lib/… (0x…)", or
// the linker alone. Scripts, which ldd rejects, have none.
func (s *standIn) addLibraries(program string) error {
	output, err := exec.Command("ldd", program).CombinedOutput() // #nosec G204 -- a program of this machine
	if err != nil {
		if bytes.Contains(output, []byte("not a dynamic executable")) {
			return nil
		}
		return fmt.Errorf("ldd %s: %w: %s", program, err, output)
	}
	lines := bufio.NewScanner(bytes.NewReader(output))
	for lines.Scan() {
		if strings.HasSuffix(lines.Text(), "not found") {
			return fmt.Errorf("%s lacks a library: %s", program, strings.TrimSpace(lines.Text()))
		}
		for _, word := range strings.Fields(lines.Text()) {
			if !strings.HasPrefix(word, "/") {
				continue
			}
			if err := s.addFile(word, word); err != nil {
				return err
			}
		}
	}
	return nil
}

// addDirectory adds all plain files below a directory, and the libraries that its
// shared objects need.
func (s *standIn) addDirectory(dir string) error {
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		if err := s.addFile(path, path); err != nil || filepath.Ext(path) != ".so" {
			return err
		}
		return s.addLibraries(path)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not there (Debian: %s)", dir, s.debian)
	}
	return err
}

// addFile adds the content of source, which may be a link, as path.
func (s *standIn) addFile(source, path string) error {
	body, err := os.ReadFile(source) // #nosec G304 -- a program or library of this machine
	if err != nil {
		return err
	}
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	path = strings.TrimPrefix(path, "/")
	switch first, _, _ := strings.Cut(path, "/"); first {
	case "bin", "lib", "lib64", "sbin":
		path = "usr/" + path
	}
	s.files = append(s.files, file{path: path, mode: info.Mode().Perm(), body: body})
	return nil
}
