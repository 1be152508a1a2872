package observability

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
)

// Scraping is how a test changes the example configuration.
type Scraping struct {
	// Targets is the file, as Targets writes it, from which the pods are taken
	// instead of the Kubernetes API, which Debian's Prometheus does not support.
	Targets string
	// Rules is the file of rules.
	Rules string
	// Interval is how often to scrape, and to evaluate the rules.
	Interval time.Duration
}

// Config returns the example configuration of a Prometheus, changed for a test. The
// relabelling of the targets stays.
func Config(file string, s Scraping) ([]byte, error) {
	text, err := os.ReadFile(file) // #nosec G304 -- the caller's own file
	if err != nil {
		return nil, err
	}
	var config map[string]any
	if err := yaml.Unmarshal(text, &config); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	interval := promDuration(s.Interval)
	config["global"] = map[string]any{"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
	config["rule_files"] = []string{s.Rules}
	jobs, _ := config["scrape_configs"].([]any)
	for _, job := range jobs {
		job, ok := job.(map[string]any)
		if !ok || job["kubernetes_sd_configs"] == nil {
			return nil, fmt.Errorf("%s: a job does not find its targets in Kubernetes", file)
		}
		for _, key := range []string{"scrape_interval", "scrape_timeout", "kubernetes_sd_configs"} {
			delete(job, key)
		}
		job["file_sd_configs"] = []any{map[string]any{"files": []string{s.Targets}}}
	}
	return yaml.Marshal(config)
}

type container struct {
	Name  string
	Ports []struct {
		Name          string
		ContainerPort int
	}
}

type pod struct {
	Metadata struct {
		Namespace, Name     string
		Labels, Annotations map[string]string
	}
	Spec   struct{ InitContainers, Containers []container }
	Status struct{ Phase, PodIP string }
}

// target is one of the lists in a file of targets.
type target struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// Targets makes a file of targets for Prometheus of what "kubectl get pods
// -o json" prints, with the labels that the discovery of pods gives them.
func Targets(pods []byte) ([]byte, error) {
	var list struct{ Items []pod }
	if err := json.Unmarshal(pods, &list); err != nil {
		return nil, fmt.Errorf("reading the list of pods: %w", err)
	}
	targets := []target{}
	for _, p := range list.Items {
		if p.Status.PodIP == "" {
			continue
		}
		for _, c := range p.Spec.InitContainers {
			targets = append(targets, p.targets(c, true)...)
		}
		for _, c := range p.Spec.Containers {
			targets = append(targets, p.targets(c, false)...)
		}
	}
	return json.MarshalIndent(targets, "", "  ")
}

// targets are one for each port of the container, or one without a port.
func (p pod) targets(c container, initial bool) []target {
	if len(c.Ports) == 0 {
		return []target{{[]string{p.Status.PodIP}, p.labels(c, initial)}}
	}
	var targets []target
	for _, port := range c.Ports {
		number := strconv.Itoa(port.ContainerPort)
		labels := p.labels(c, initial)
		labels["__meta_kubernetes_pod_container_port_name"] = port.Name
		labels["__meta_kubernetes_pod_container_port_number"] = number
		targets = append(targets, target{[]string{net.JoinHostPort(p.Status.PodIP, number)}, labels})
	}
	return targets
}

func (p pod) labels(c container, initial bool) map[string]string {
	const meta = "__meta_kubernetes_"
	labels := map[string]string{
		meta + "namespace": p.Metadata.Namespace, meta + "pod_name": p.Metadata.Name, meta + "pod_ip": p.Status.PodIP,
		meta + "pod_phase": p.Status.Phase, meta + "pod_container_name": c.Name, meta + "pod_container_init": strconv.FormatBool(initial),
	}
	for name, value := range p.Metadata.Labels {
		labels[meta+"pod_label_"+labelName(name)] = value
	}
	for name, value := range p.Metadata.Annotations {
		labels[meta+"pod_annotation_"+labelName(name)] = value
	}
	return labels
}

// labelName is the name that Prometheus makes of another one.
func labelName(name string) string {
	return regexp.MustCompile(`[^a-zA-Z0-9_]`).ReplaceAllString(name, "_")
}

// Sample is one series of an answer.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// Ask asks the Prometheus at an address, host:port, for the value of an
// expression now.
func Ask(ctx context.Context, addr, expr string) ([]Sample, error) {
	var answer struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any
		}
	}
	if err := Get(ctx, addr, "query?query="+url.QueryEscape(expr), &answer); err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	var samples []Sample
	for _, series := range answer.Result {
		text, _ := series.Value[1].(string)
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", expr, err)
		}
		samples = append(samples, Sample{series.Metric, value})
	}
	return samples, nil
}

// Get decodes the data that the Prometheus at an address gives for a path of
// its API.
func Get(ctx context.Context, addr, path string, data any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/api/v1/"+path, nil)
	if err != nil {
		return err
	}
	request.Close = true // there are few, and no connection is left behind
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("status %d: %w", response.StatusCode, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("status %d: %s", response.StatusCode, answer.Error)
	}
	return nil
}
