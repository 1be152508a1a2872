package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/achilles-blog/achilles/test/e2e/cluster"
)

const (
	adminPort = 9090 // of the pods
	// readOnlyKey is the only live setting that clients notice; see readOnlyRun.
	readOnlyKey = "Server.ReadOnly"
	// reloadAgain is the time after which the kubelet is told again to read a ConfigMap, in
	// case that it has not seen the change the first time.
	reloadAgain = time.Second
)

// other is a value of a live setting that differs from those in use, and how /configz shows it.
type other struct {
	value any
	shown string
}

// others returns another value of each live setting except readOnlyKey, which the load's
// clients don't notice.
func others() map[string]other {
	proxies := append(trustedProxies(), "203.0.113.0/24")
	return map[string]other{
		"Server.RequestTimeout":     {"14900ms", "14.9s"},
		"Server.CorsAllowedOrigins": {[]string{"https://blog.example"}, "https://blog.example"},
		"Server.CorsAllowedHeaders": {[]string{"Authorization", "Content-Type"}, "Authorization, Content-Type"},
		"Server.CorsExposedHeaders": {[]string{"ETag", "Link"}, "ETag, Link"},
		"Server.TrustedProxies":     {proxies, strings.Join(proxies, ", ")},
		"Server.TrustedHops":        {3, "3"},
		"Server.PathPrefix":         {"/blog", "/blog"},
		"Server.SharedMaxAge":       {"30s", "30s"},
		"Server.Compression":        {[]string{"gzip"}, "gzip"},
		"Limits.Enabled":            {false, "false"},
		"Limits.ReadPerSecond":      {90_001, "90001"},
		"Limits.ReadBurst":          {90_002, "90002"},
		"Limits.SearchPerSecond":    {90_003, "90003"},
		"Limits.SearchBurst":        {90_004, "90004"},
		"Limits.WritePerSecond":     {90_005, "90005"},
		"Limits.WriteBurst":         {90_006, "90006"},
		"Limits.AuthPerMinute":      {11, "11"},
		"Limits.AuthBurst":          {6, "6"},
		"Limits.IPv6Prefix":         {56, "56"},
		"Limits.IPv6SiteFactor":     {8, "8"},
		"Log.Level":                 {"debug", "debug"},
		"Tracing.SampleRatio":       {0.5, "0.5"},
		"App.DefaultPageSize":       {12, "12"},
		"App.MaxPageSize":           {99, "99"},
		"App.MaxOffset":             {9_999, "9999"},
	}
}

// derivedByChart reports whether the chart derives a live setting from others of its values, so
// that it can't be set by itself. Then only the ConfigMap is changed.
func derivedByChart(key string) bool {
	return key == "Server.RequestTimeout" || key == "Server.TrustedProxies"
}

// liveSettings returns the keys of the live settings of each service, according to the chart.
func liveSettings(chart string) (map[component][]string, error) {
	text, err := os.ReadFile(filepath.Join(chart, "files", "live.yaml")) // #nosec G304 -- a file of the repository
	if err != nil {
		return nil, err
	}
	var all map[component][]string
	return all, yaml.Unmarshal(text, &all)
}

// sections are settings by section and name, as in a configuration file.
type sections map[string]map[string]any

func (s sections) set(key string, value any) {
	section, name, _ := strings.Cut(key, ".")
	if s[section] == nil {
		s[section] = map[string]any{}
	}
	s[section][name] = value
}

// restore makes the setting as it is in the other ones.
func (s sections) restore(key string, from sections) {
	section, name, _ := strings.Cut(key, ".")
	if value, is := from[section][name]; is {
		s.set(key, value)
		return
	}
	delete(s[section], name)
}

// config returns the sections as a service's value config of the chart.
func (s sections) config() map[string]any {
	config := map[string]any{}
	for section, values := range s {
		config[section] = values
	}
	return map[string]any{"config": config}
}

// reload is a reload of live settings by all pods.
type reload struct {
	runner *Runner
	system *system
	// pods are those before. None may be replaced or restarted.
	pods []cluster.Pod
	// before are the settings of each pod, as /configz shows them.
	before map[string]map[string]string

	keys    map[string]bool // that have changed and changed back
	number  int
	slowest time.Duration
	wrong   string
}

// newReload returns a reload, before anything has changed.
func (r *Runner) newReload(ctx context.Context, s *system) (*reload, error) {
	pods, err := r.cluster.Pods(ctx, s.namespace, s.selector())
	if err != nil {
		return nil, err
	}
	l := &reload{runner: r, system: s, pods: pods, before: map[string]map[string]string{}, keys: map[string]bool{}}
	for _, pod := range pods {
		if l.before[pod.Name], err = r.settingsOf(ctx, s, pod); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// reloadSettings changes all live settings, and each of them back in the ConfigMaps. Then it changes the ConfigMaps to settings that are not valid.
func (r *Runner) reloadSettings(ctx context.Context, s *system) error {
	live, err := liveSettings(s.chart)
	if err != nil {
		return err
	}
	l, err := r.newReload(ctx, s)
	if err != nil {
		return err
	}
	r.reloads = append(r.reloads, l)
	first, err := s.configMaps(ctx)
	if err != nil {
		return err
	}
	if err := s.change(ctx, live); err != nil {
		return err
	}
	if ok, err := l.await(ctx, "the values of the chart", l.shows(live, nil)); !ok || err != nil {
		return err
	}
	if ok, err := l.back(ctx, live, first); !ok || err != nil {
		return err
	}
	if ok, err := l.invalid(ctx, first); !ok || err != nil {
		return err
	}
	if err := s.upgrade(ctx, nil); err != nil {
		return err
	}
	_, err = l.await(ctx, "the first values", l.shows(nil, nil))
	return errors.Join(err, l.samePods(ctx))
}

// change changes the live settings to their other values by the chart, and those that it derives
// in the ConfigMaps.
func (s *system) change(ctx context.Context, live map[component][]string) error {
	changes := map[component]map[string]any{}
	for c, keys := range live {
		changed := sections{}
		for _, key := range keys {
			if key != readOnlyKey && !derivedByChart(key) {
				changed.set(key, others()[key].value)
			}
		}
		changes[c] = changed.config()
	}
	if err := s.upgrade(ctx, changes); err != nil {
		return err
	}
	now, err := s.configMaps(ctx)
	if err != nil {
		return err
	}
	for c, settings := range now {
		for _, key := range live[c] {
			if derivedByChart(key) {
				settings.set(key, others()[key].value)
			}
		}
	}
	return s.setConfigMaps(ctx, now)
}

// back changes one setting after another back in the ConfigMaps.
func (l *reload) back(ctx context.Context, live map[component][]string, first map[component]sections) (ok bool, err error) {
	now, err := l.system.configMaps(ctx)
	if err != nil {
		return false, err
	}
	for _, key := range slices.Sorted(maps.Keys(others())) {
		for c := range now {
			now[c].restore(key, first[c])
		}
		if err := l.system.setConfigMaps(ctx, now); err != nil {
			return false, err
		}
		l.keys[key] = true
		if ok, err := l.await(ctx, key+" as before", l.shows(live, l.keys)); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// invalid changes a setting to an invalid value, and another one to a valid value, which must
// not be used either.
func (l *reload) invalid(ctx context.Context, first map[component]sections) (ok bool, err error) {
	broken, err := l.system.configMaps(ctx)
	if err != nil {
		return false, err
	}
	for c := range broken {
		broken[c].set("Log.Level", "loud")
		broken[c].set("App.DefaultPageSize", 33)
	}
	if err := l.system.setConfigMaps(ctx, broken); err != nil {
		return false, err
	}
	ok, err = l.await(ctx, "the metric of an invalid file, and the former settings", l.all(l.successful(false), l.shows(nil, nil)))
	if !ok || err != nil {
		return false, err
	}
	if err := l.system.setConfigMaps(ctx, first); err != nil {
		return false, err
	}
	return l.await(ctx, "the metric of a valid file", l.successful(true))
}

// condition returns what is missing in a pod, or "".
type condition func(ctx context.Context, pod cluster.Pod) string

func (l *reload) all(conditions ...condition) condition {
	return func(ctx context.Context, pod cluster.Pod) string {
		for _, c := range conditions {
			if missing := c(ctx, pod); missing != "" {
				return missing
			}
		}
		return ""
	}
}

// shows is the condition that the live settings have their other values, except those in
// back, and that all other settings are as before.
func (l *reload) shows(live map[component][]string, back map[string]bool) condition {
	return func(ctx context.Context, pod cluster.Pod) string {
		want := maps.Clone(l.before[pod.Name])
		for _, key := range live[component(pod.Component)] {
			if key != readOnlyKey && !back[key] {
				want[key] = others()[key].shown
			}
		}
		got, err := l.runner.settingsOf(ctx, l.system, pod)
		if err != nil {
			return err.Error()
		}
		for key, value := range want {
			if got[key] != value {
				return fmt.Sprintf("%s is %q, want %q", key, got[key], value)
			}
		}
		return ""
	}
}

// shown is the condition that a setting has a value.
func (l *reload) shown(key string, value any) condition {
	return func(ctx context.Context, pod cluster.Pod) string {
		got, err := l.runner.settingsOf(ctx, l.system, pod)
		if err != nil {
			return err.Error()
		}
		if got[key] != fmt.Sprint(value) {
			return fmt.Sprintf("%s is %q", key, got[key])
		}
		return ""
	}
}

// successful is the condition that the metric says whether the last reload was successful.
func (l *reload) successful(yes bool) condition {
	want := "\nachilles_config_last_reload_successful 0\n"
	if yes {
		want = "\nachilles_config_last_reload_successful 1\n"
	}
	return func(ctx context.Context, pod cluster.Pod) string {
		exposition, err := l.runner.admin(ctx, l.system, pod, "/metrics")
		if err != nil || !bytes.Contains(exposition, []byte(want)) {
			return strings.TrimSpace(want) + " is missing"
		}
		return ""
	}
}

// await waits until every pod fulfils the condition, and reports whether that happened.
func (l *reload) await(ctx context.Context, what string, fulfilled condition) (ok bool, err error) {
	l.number++
	waiting, began, told := slices.Clone(l.pods), time.Now(), time.Time{}
	for until := began.Add(rolloutTimeout); ; {
		if time.Since(told) > reloadAgain {
			// The kubelet looks at ConfigMaps once a minute, and immediately when a pod changes.
			if _, err := l.runner.cluster.Kubectl(ctx, "annotate", "pods", "-n", l.system.namespace, "-l", l.system.selector(), "--overwrite", fmt.Sprintf("achilles-e2e/reload=%d", time.Now().UnixNano())); err != nil {
				return false, err
			}
			told = time.Now()
		}
		missing := ""
		waiting = slices.DeleteFunc(waiting, func(pod cluster.Pod) bool {
			found := fulfilled(ctx, pod)
			if found != "" {
				missing = pod.Name + ": " + found
			}
			return found == ""
		})
		l.slowest = max(l.slowest, time.Since(began))
		switch {
		case len(waiting) == 0:
			return true, nil
		case time.Now().After(until):
			l.wrong = fmt.Sprintf("%s: not within %s: %s", what, rolloutTimeout, missing)
			return false, nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return false, err
		}
	}
}

// samePods notes if a pod was replaced or restarted.
func (l *reload) samePods(ctx context.Context) error {
	now, err := l.runner.cluster.Pods(ctx, l.system.namespace, l.system.selector())
	if err != nil {
		return err
	}
	if before, after := identities(l.pods), identities(now); !maps.Equal(before, after) {
		l.wrong = fmt.Sprintf("pods were replaced or restarted: before %v, after %v", before, after)
	}
	return nil
}

// identities returns the restarts of pods by their names, without those that terminate.
func identities(pods []cluster.Pod) map[string]int {
	all := map[string]int{}
	for _, pod := range pods {
		if !pod.Terminating {
			all[pod.Name] = pod.Restarts
		}
	}
	return all
}

// checkReloads checks that every live setting has changed without a restart.
func (r *Runner) checkReloads() {
	keys, number, pods, slowest, wrong := map[string]bool{}, 0, 0, time.Duration(0), []string{}
	for _, l := range r.reloads {
		maps.Copy(keys, l.keys)
		number, pods, slowest = number+l.number, max(pods, len(l.pods)), max(slowest, l.slowest)
		if l.wrong != "" {
			wrong = append(wrong, l.wrong)
		}
	}
	r.result("G1: live settings change in the pods that run", len(keys) == len(others()) && pods > 0 && len(wrong) == 0,
		"%d settings were changed by helm upgrade and changed back one after another, and an invalid file changed nothing: %d reloads by up to %d pods, none of which was replaced or restarted; the slowest took %.1f s %s",
		len(keys), number, pods, slowest.Seconds(), strings.Join(wrong, "; "))
}

// settingsOf returns the settings of a pod, as /configz shows them.
func (r *Runner) settingsOf(ctx context.Context, s *system, pod cluster.Pod) (map[string]string, error) {
	body, err := r.admin(ctx, s, pod, "/configz?format=json")
	if err != nil {
		return nil, err
	}
	var page struct {
		Settings []struct{ Setting, Value string }
	}
	if err := json.Unmarshal(body, &page); err != nil || len(page.Settings) == 0 {
		return nil, fmt.Errorf("%s: /configz has no settings: %.200s", pod.Name, body)
	}
	all := map[string]string{}
	for _, s := range page.Settings {
		all[s.Setting] = s.Value
	}
	return all, nil
}

// admin gets a path of a pod's admin port, through the API server.
func (r *Runner) admin(ctx context.Context, s *system, pod cluster.Pod, path string) ([]byte, error) {
	url := fmt.Sprintf("%s/api/v1/namespaces/%s/pods/%s:%d/proxy%s", r.agents.proxy, s.namespace, pod.Name, adminPort, path)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: GET %s: status %d: %.200s", pod.Name, path, response.StatusCode, body)
	}
	return body, err
}

// configMaps returns the settings in the ConfigMap of each service.
func (s *system) configMaps(ctx context.Context) (map[component]sections, error) {
	all := map[component]sections{}
	for _, c := range s.components() {
		text, err := s.cluster.Kubectl(ctx, "get", "configmap", release+"-"+string(c), "-n", s.namespace, "-o", `jsonpath={.data.settings\.yaml}`)
		if err != nil {
			return nil, err
		}
		settings := sections{}
		if err := yaml.Unmarshal([]byte(text), &settings); err != nil {
			return nil, fmt.Errorf("the ConfigMap of %s: %w", c, err)
		}
		all[c] = settings
	}
	return all, nil
}

// setConfigMaps changes the ConfigMaps as Helm does, which otherwise would refuse to change
// them later.
func (s *system) setConfigMaps(ctx context.Context, all map[component]sections) error {
	items := []any{}
	for c, settings := range all {
		printed, err := s.cluster.Kubectl(ctx, "get", "configmap", release+"-"+string(c), "-n", s.namespace, "-o", "json")
		if err != nil {
			return err
		}
		var object struct {
			Metadata struct{ Labels, Annotations map[string]string }
		}
		if err := json.Unmarshal([]byte(printed), &object); err != nil {
			return err
		}
		text, err := yaml.Marshal(settings)
		if err != nil {
			return err
		}
		items = append(items, map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"settings.yaml": string(text)},
			"metadata": map[string]any{
				"name": release + "-" + string(c), "namespace": s.namespace, "labels": object.Metadata.Labels, "annotations": object.Metadata.Annotations,
			},
		})
	}
	list, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	if err != nil {
		return err
	}
	return s.cluster.ApplyAs(ctx, "helm", string(list))
}
