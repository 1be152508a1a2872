// Package service adds services and resources to a project, and removes services. What it
// makes is that of the tag service, from the same templates.
package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/achilles-blog/achilles/scaffold/fields"
)

// Options says where and how a command runs.
type Options struct {
	Root string    // of the repository
	Out  io.Writer // for progress and what to do next
	// Generate is a shell command that brings generated files up to date, make generate if it
	// is empty.
	Generate string
}

// New adds the service NAME with the resource RESOURCE, which is NAME if left out, its plural
// PLURAL and its FIELDS. It follows the feed of the service FOLLOWS, if that is given. On an error, and if ctx ends, everything is as before.
func New(ctx context.Context, o Options, args map[string]string) error {
	if err := allow(args, "NAME", "RESOURCE", "PLURAL", "FIELDS", "FOLLOWS"); err != nil {
		return err
	}
	if args["RESOURCE"] == "" {
		args["RESOURCE"] = args["NAME"]
	}
	repo, added, err := resourceOf(o, args)
	if err = errors.Join(fields.CheckService(args["NAME"]), err); err != nil {
		return err
	}
	added.Service, added.First, added.Version = args["NAME"], true, "0001"
	added.Port, added.AdminPort = repo.ports()
	if _, exists := repo.service(added.Service); exists || repo.has("services/"+added.Service) {
		return fmt.Errorf("the service %s exists: choose another NAME, remove it with make remove-service NAME=%[1]s, or add a resource to it with make new-resource SERVICE=%[1]s", added.Service)
	}
	if name := strings.TrimSpace(args["FOLLOWS"]); name != "" {
		followed, err := repo.followed(added.Service, name)
		if err != nil {
			return err
		}
		added.follow(followed)
	}
	return repo.add(ctx, o, added)
}

// followed returns the resource whose feed a new service follows.
func (r *repository) followed(added, name string) (Resource, error) {
	service, exists := r.service(name)
	switch {
	case len(strings.Fields(name)) > 1:
		return Resource{}, fmt.Errorf("FOLLOWS has several services, %s, but the setting Feed.URL names one: follow one of them, and call the others as docs/new-service.md says", name)
	case name == added:
		return Resource{}, fmt.Errorf("%s can't follow itself: it has its own data", name)
	case !exists:
		return Resource{}, fmt.Errorf("there is no service %q to follow: FOLLOWS is one of %s", name, strings.Join(r.names(), ", "))
	case len(service.Resources) == 0 || len(service.Resources[0].Fields) == 0:
		return Resource{}, fmt.Errorf("%s lists no fields of what %s stores, so its feed has another form than those that make new-service makes: follow it by hand, as docs/new-service.md says", listFile, name)
	}
	first := service.Resources[0]
	followed := newResource(first.Name, path.Base(first.Path), first.Fields)
	followed.Service, followed.Port = service.Name, service.Port
	return followed, nil
}

// NewResource adds the resource RESOURCE with its FIELDS to SERVICE.
func NewResource(ctx context.Context, o Options, args map[string]string) error {
	if err := allow(args, "SERVICE", "RESOURCE", "PLURAL", "FIELDS"); err != nil {
		return err
	}
	repo, added, err := resourceOf(o, args)
	if err != nil {
		return err
	}
	added.Service = args["SERVICE"]
	service, exists := repo.service(added.Service)
	if !exists {
		return fmt.Errorf("there is no service %q: SERVICE is one of %s", added.Service, strings.Join(repo.names(), ", "))
	}
	added.Port, added.AdminPort = service.Port, service.AdminPort
	bootstrap, err := repo.read("services/" + added.Service + "/internal/bootstrap/bootstrap.go")
	if err != nil {
		return err
	}
	if _, _, err := elementsOf(string(bootstrap), "resources"); err != nil {
		return fmt.Errorf("services/%s/internal/bootstrap/bootstrap.go has no function resources that returns a list, as services/tag has it: add the resource by hand, or to another service", added.Service)
	}
	if added.Version, err = repo.nextMigration(added.Service); err != nil {
		return err
	}
	return repo.add(ctx, o, added)
}

// resourceOf returns the repository, and the resource that the arguments describe.
func resourceOf(o Options, args map[string]string) (*repository, Resource, error) {
	repo, err := open(o.Root)
	if err != nil {
		return nil, Resource{}, err
	}
	if args["RESOURCE"] == "" {
		return nil, Resource{}, errors.New("RESOURCE is missing, the name of one object, as in RESOURCE=comment")
	}
	plural := args["PLURAL"]
	if plural == "" {
		plural = fields.Plural(args["RESOURCE"])
	}
	all, err := fields.Parse(args["FIELDS"])
	added := newResource(args["RESOURCE"], plural, all)
	added.Module = repo.module
	if err := errors.Join(fields.CheckResource(added.Name, plural), err); err != nil {
		return nil, added, err
	}
	return repo, added, nil
}

// allow returns an error if there are arguments of other names, or none of the first.
func allow(args map[string]string, names ...string) error {
	for name := range args {
		if !slices.Contains(names, name) {
			return fmt.Errorf("there is no argument %s: allowed are %s", name, strings.Join(names, ", "))
		}
	}
	if args[names[0]] == "" {
		return fmt.Errorf("%s is missing, the name of a service, as in %[1]s=comment", names[0])
	}
	return nil
}

// add adds a resource, and its service if it is the first.
func (r *repository) add(ctx context.Context, o Options, added Resource) (err error) {
	if err := r.checkFree(added); err != nil {
		return err
	}
	if added.Number, err = r.nextNumber(); err != nil {
		return err
	}
	files, err := added.render()
	if err != nil {
		return err
	}
	lines := 0
	err = r.atomically(ctx, o, func() error {
		say(o, "writing %d files below services/%s", len(files), added.Service)
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if err := r.write("services/"+added.Service+"/"+name, files[name]); err != nil {
				return err
			}
			if strings.HasSuffix(name, ".go") || strings.HasSuffix(name, ".sql") {
				lines += bytes.Count(files[name], []byte("\n"))
			}
		}
		if err := errors.Join(r.addCodes(added), r.addToList(added)); err != nil {
			return err
		}
		if added.First {
			return r.addUse(added.Service)
		}
		return r.edit("services/"+added.Service+"/internal/bootstrap/bootstrap.go", func(text string) (string, error) {
			return insertLast(text, "resources", added.Plural+"()")
		})
	})
	if err != nil {
		return err
	}
	say(o, `made %s in services/%s: %d lines of Go and SQL. Next:
  go test ./services/%[2]s/...   # on SQLite, and on MariaDB where mariadbd is installed
  make run                       # serves http://127.0.0.1:8080%[4]s
docs/new-service.md says what to change then.`, added.Plural, added.Service, lines, added.Path)
	return nil
}

// Remove removes the service NAME.
func Remove(ctx context.Context, o Options, args map[string]string) error {
	if err := allow(args, "NAME"); err != nil {
		return err
	}
	repo, err := open(o.Root)
	if err != nil {
		return err
	}
	name := args["NAME"]
	gone, exists := repo.service(name)
	if !exists {
		return fmt.Errorf("there is no service %q: NAME is one of %s", name, strings.Join(repo.names(), ", "))
	}
	for _, e := range repo.list {
		if slices.Contains(e.Follows, name) {
			return fmt.Errorf("the service %s follows %s: remove %[1]s first, or name another service in its follows in %[3]s", e.Name, name, listFile)
		}
	}
	if gone.Issuer {
		return fmt.Errorf("the service %s issues the tokens of all services: move issuer: true and /auth to another in %s, with the lines of pkg/issuer in its bootstrap.go and migrations.go", name, listFile)
	}
	if len(repo.list) == 1 {
		return fmt.Errorf("%s is the only service, and the chart needs one: add another before", name)
	}
	for _, resource := range gone.Resources {
		if !repo.has(Resource{Name: resource.Name}.codesFile()) {
			return fmt.Errorf("%s was not made by make new-service: there is no %s. Remove it by hand: its folder, its entries in %s and %s, its codes in %s, and run %s", name, Resource{Name: resource.Name}.codesFile(), listFile, workFile, codesFile, generatedBy)
		}
	}
	kept := ""
	err = repo.atomically(ctx, o, func() (err error) {
		say(o, "removing services/%s", name)
		if kept, err = repo.keep(ctx, name); err != nil {
			return err
		}
		for _, resource := range gone.Resources {
			if err := repo.removeCodes(resource.Name); err != nil {
				return err
			}
		}
		for _, path := range []string{
			"services/" + name, "deploy/config/" + name + ".yaml", "deploy/systemd/achilles@" + name + ".socket",
			"deploy/kustomize/base/services/" + name + ".yaml", "deploy/kustomize/base/services/" + name + "-settings.yaml", "bin/" + name,
		} {
			if err := os.RemoveAll(repo.path(path)); err != nil {
				return err
			}
		}
		return errors.Join(repo.removeFromList(name), repo.removeUse(name))
	})
	if err != nil {
		return err
	}
	if kept != "" {
		say(o, "a copy of what was not committed is in %s", kept)
	}
	say(o, "removed %s. Its database stays: delete it, and its volume on the cluster, by hand. git status shows what has changed", name)
	return nil
}

// keep copies the folder of a service into bin/removed unless git has all of it, and returns
// where to.
func (r *repository) keep(ctx context.Context, name string) (string, error) {
	command := exec.CommandContext(ctx, "git", "status", "--porcelain", "--", "services/"+name)
	command.Dir = r.root
	if output, err := command.Output(); err == nil && len(output) == 0 {
		return "", nil
	}
	to := "bin/removed/" + name + "-" + time.Now().UTC().Format("20060102T150405")
	return to, os.CopyFS(r.path(to), os.DirFS(r.path("services/"+name)))
}

// places are where the commands, and what they run, write.
func places() []string {
	return []string{"services", "pkg/errcode", "docs", "deploy", "go.work", "docker-compose.yaml"}
}

// atomically runs change, and then what generates files. If either fails, or ctx ends, all
// files are as they were before.
func (r *repository) atomically(ctx context.Context, o Options, change func() error) error {
	before, err := r.snapshot()
	if err != nil {
		return err
	}
	err = change()
	if err == nil {
		err = r.generate(ctx, o)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		return nil
	}
	say(o, "putting everything back")
	if failed := r.restore(before); failed != nil {
		return errors.Join(err, fmt.Errorf("putting everything back: %w: git status shows what is left", failed))
	}
	if ctx.Err() != nil {
		return errors.New("interrupted: nothing has changed")
	}
	return fmt.Errorf("%w\nnothing has changed", err)
}

// snapshot returns the content of all files in places, by path.
func (r *repository) snapshot() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, place := range places() {
		err := filepath.WalkDir(r.path(place), func(path string, entry os.DirEntry, err error) error {
			switch {
			case os.IsNotExist(err):
				return nil
			case err != nil || !entry.Type().IsRegular():
				return err
			}
			files[path], err = os.ReadFile(path)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

// restore makes the files in places those of a snapshot.
func (r *repository) restore(before map[string][]byte) error {
	now, err := r.snapshot()
	if err != nil {
		return err
	}
	for path := range now {
		if _, ok := before[path]; ok {
			continue
		}
		if err := os.Remove(path); err != nil {
			return err
		}
		for dir := filepath.Dir(path); os.Remove(dir) == nil; dir = filepath.Dir(dir) { // as long as it is empty
		}
	}
	for path, text := range before {
		if current, ok := now[path]; ok && bytes.Equal(current, text) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate runs make generate in a process group of its own, which it ends if ctx does.
func (r *repository) generate(ctx context.Context, o Options) error {
	line := o.Generate
	if line == "" {
		line = "exec make --no-print-directory generate"
	}
	say(o, "%s (the first time, minutes: it builds the services)", generatedBy)
	began := time.Now()
	command := exec.CommandContext(ctx, "sh", "-c", line)
	command.Dir, command.Stdout, command.Stderr = r.root, o.Out, o.Out
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "MAKE") && !strings.HasPrefix(variable, "MFLAGS") { // the flags of make new-service
			command.Env = append(command.Env, variable)
		}
	}
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	command.WaitDelay = 10 * time.Second
	if err := command.Run(); err != nil {
		return fmt.Errorf("%s: %w", generatedBy, err)
	}
	say(o, "%s took %.0f s", generatedBy, time.Since(began).Seconds())
	return nil
}

func say(o Options, format string, args ...any) {
	_, _ = fmt.Fprintf(o.Out, "scaffold: "+format+"\n", args...)
}
