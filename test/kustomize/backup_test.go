package kustomize

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/manifest"
	"github.com/achilles-blog/achilles/test/process"
)

const backups = root + "/deploy/backup"

// pod returns the pod of a CronJob.
func pod(t testing.TB, all manifest.Objects, name string) corev1.PodTemplateSpec {
	t.Helper()
	return manifest.Get[batchv1.CronJob](t, all, name).Spec.JobTemplate.Spec.Template
}

func TestBackupJobs(t *testing.T) {
	all := kustomize(t, backups)
	for _, r := range missing(all) {
		if r.kind != "ServiceAccount" { // that of the namespace
			require.Contains(t, []reference{{"Secret", "achilles-backup", ""}, {"Secret", "achilles-backup", "backup.cnf"}, {"Secret", "achilles-backup", "restore.cnf"}}, r,
				"docs/backup.md tells to create no other")
		}
	}
	var values struct {
		Mariadb struct {
			Image struct{ Repository, Tag string }
		}
	}
	text, err := os.ReadFile(filepath.Join(root, chartDir, "values.yaml"))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, &values))
	backup, restore := pod(t, all, "achilles-backup"), pod(t, all, "achilles-restore")
	for _, one := range []corev1.PodTemplateSpec{backup, restore} {
		require.True(t, strings.HasSuffix(one.Spec.Containers[0].Image, values.Mariadb.Image.Repository+":"+values.Mariadb.Image.Tag))
	}
	require.True(t, *manifest.Get[batchv1.CronJob](t, all, "achilles-restore").Spec.Suspend, "only by hand")

	// They differ in what they run, and with which account.
	for _, one := range []*corev1.PodTemplateSpec{&backup, &restore} {
		container := &one.Spec.Containers[0]
		container.Name, container.Args, container.Env = "", nil, nil
	}
	require.Equal(t, backup, restore)

	// The policy that denies connections doesn't select them, nor those of the services.
	for _, o := range overlays {
		manifest.Each(o.render(t), func(key string, p *networkingv1.NetworkPolicy) {
			selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
			require.NoError(t, err)
			require.False(t, selector.Matches(labels.Set(backup.Labels)), key)
		})
	}
}

// The overlay of docs/backup.md mounts the files into both pods.
func TestBackupOverlay(t *testing.T) {
	text, err := os.ReadFile(root + "/docs/backup.md")
	require.NoError(t, err)
	example := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(text)
	require.NotNil(t, example)
	here, err := filepath.Abs(backups)
	require.NoError(t, err)
	dir := t.TempDir()
	way, err := filepath.Rel(dir, here)
	require.NoError(t, err)
	overlay := regexp.MustCompile(`https://github.com/\S+`).ReplaceAllString(string(example[1]), filepath.ToSlash(way))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(overlay), 0o600))
	all := kustomize(t, dir)
	claims := kustomize(t, overlayOf(t, "base", "components: [DEPLOY/components/files-claim]"))
	for _, name := range []string{"achilles-backup", "achilles-restore"} {
		spec := pod(t, all, name).Spec
		claim := spec.Volumes[len(spec.Volumes)-1].PersistentVolumeClaim.ClaimName
		require.NotNil(t, claims["PersistentVolumeClaim "+claim])
		mounted := ""
		for _, mount := range spec.Containers[0].VolumeMounts {
			if mount.Name == "files" {
				mounted = mount.MountPath
			}
		}
		require.NotEmpty(t, mounted)
		require.Contains(t, spec.Containers[0].Env, corev1.EnvVar{Name: "BACKUP_FILES", Value: mounted})
	}
	require.NotEqual(t, "17 3 * * *", manifest.Get[batchv1.CronJob](t, all, "achilles-backup").Spec.Schedule)
}

// cluster runs the containers of deploy/backup on this machine, with other paths.
type cluster struct {
	all manifest.Objects
	dir string
}

func (c cluster) run(t *testing.T, name string, more ...string) {
	t.Helper()
	container := pod(t, c.all, name).Spec.Containers[0]
	here := strings.NewReplacer("/scripts/", c.dir+"/scripts/", "/backups", c.dir+"/backups", "/run/secrets/achilles-backup", c.dir)
	environ := []string{}
	for _, variable := range container.Env {
		environ = append(environ, variable.Name+"="+here.Replace(variable.Value))
	}
	process.Tool(t, c.dir, append(environ, more...), container.Command[0], append(container.Command[1:], here.Replace(container.Args[0]))...)
}

// names returns the names of the backups.
func (c cluster) names(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(c.dir, "backups"))
	require.NoError(t, err)
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// The nightly backup keeps the newest ones, and the other job restores the newest one or another.
func TestBackupJobsRun(t *testing.T) {
	process.Installed(t, "mariadb-dump")
	c := cluster{kustomize(t, backups), t.TempDir()}
	write := func(name, content string) {
		file := filepath.Join(c.dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	}
	for name, content := range manifest.Get[corev1.ConfigMap](t, c.all, "achilles-backup").Data {
		write("scripts/"+name, content)
	}
	server := dbtest.NewMySQL(t)
	host, port, _ := strings.Cut(server.Addr(), ":")
	for _, name := range []string{"backup.cnf", "restore.cnf"} {
		write(name, "[client]\nuser = root\nhost = "+host+"\nport = "+port+"\n")
	}
	write("backups/interrupted.part/article.sql", "")
	write("files/aa/aabb", "the content")
	for _, service := range serviceNames(t, root) {
		process.Migrate(t, process.Service(t, service), process.On(configOf(server, "root", "", "achilles_"+service)))
	}
	db := dbtest.Open(t, configOf(server, "root", "", "mysql")).SQL()
	tag := func(name string) {
		_, err := db.ExecContext(t.Context(), "INSERT INTO achilles_tag.blog_tag (created_at, updated_at, name) VALUES (NOW(), NOW(), ?)", name)
		require.NoError(t, err)
	}
	tags := func() (n int) {
		require.NoError(t, db.QueryRowContext(context.WithoutCancel(t.Context()), "SELECT COUNT(*) FROM achilles_tag.blog_tag").Scan(&n))
		return n
	}

	for n, name := range []string{"first", "second", "third"} {
		tag(name)
		began := time.Now().Truncate(time.Second)
		c.run(t, "achilles-backup", "KEEP=2", "BACKUP_FILES="+c.dir+"/files")
		require.Len(t, c.names(t), min(n+1, 2))
		process.Await(t, "another second, which is in the names", func() bool { return time.Now().Truncate(time.Second).After(began) })
	}
	tag("lost")
	require.NoError(t, os.RemoveAll(c.dir+"/files"))
	c.run(t, "achilles-restore", "REPLACE=yes", "BACKUP_FILES="+c.dir+"/files")
	require.Equal(t, 3, tags())
	require.FileExists(t, c.dir+"/files/aa/aabb")
	c.run(t, "achilles-restore", "REPLACE=yes", "FROM="+c.dir+"/backups/"+c.names(t)[0])
	require.Equal(t, 2, tags())
}
