// Package observability reads the dashboard, the alerts and the scrape
// configuration of deploy/observability, so that tests can run them on a real
// Prometheus.
package observability

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// Query is a query of a panel.
type Query struct {
	Panel, Expr string
}

// Dashboard is the part of a Grafana dashboard that the tests check.
type Dashboard struct {
	UID           string
	Title         string
	SchemaVersion int
	Panels        []Panel
	Annotations   struct{ List []struct{ Name, Expr string } }
	Templating    struct {
		List []struct {
			Name  string
			Query any
		}
	}
}

// Panel is a panel, or the row above some.
type Panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Targets                  []struct{ RefID, Expr string }
}

// ReadDashboard reads a dashboard's file.
func ReadDashboard(file string) (Dashboard, error) {
	var d Dashboard
	text, err := os.ReadFile(file) // #nosec G304 -- the caller's own file
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	if err != nil {
		return d, fmt.Errorf("reading the dashboard: %w", err)
	}
	return d, nil
}

// Queries returns the queries of all panels of a dashboard's file, in order,
// as Grafana sends them for a namespace with every service and pod chosen.
// Scraping is the interval between two scrapes.
func Queries(file, namespace string, scraping time.Duration) ([]Query, error) {
	d, err := ReadDashboard(file)
	if err != nil {
		return nil, err
	}
	fill := variables(namespace, scraping)
	var queries []Query
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			query := Query{panel.Title, fill.Replace(target.Expr)}
			if strings.Contains(query.Expr, "$") {
				return nil, fmt.Errorf("panel %q uses a variable that is not known here: %s", query.Panel, query.Expr)
			}
			queries = append(queries, query)
		}
	}
	return queries, nil
}

// variables replaces Grafana's variables. A rate covers four scrape intervals, which
// have two samples even if a scrape fails.
func variables(namespace string, scraping time.Duration) *strings.Replacer {
	const everything = ".+"
	return strings.NewReplacer(
		"$__rate_interval", promDuration(4*scraping), "$__interval", promDuration(scraping), "$__range", "1h",
		"$namespace", namespace, "$service", everything, "$pod", everything)
}

// promDuration writes a duration as Prometheus reads it.
func promDuration(d time.Duration) string { return fmt.Sprintf("%dms", d.Milliseconds()) }
