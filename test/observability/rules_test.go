package observability_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/test/observability"
	"github.com/achilles-blog/achilles/test/process"
	"github.com/achilles-blog/achilles/test/services"
)

func rules(t *testing.T) []observability.Rule {
	t.Helper()
	groups, err := observability.ReadRules(alerts)
	require.NoError(t, err)
	var all []observability.Rule
	for _, group := range groups {
		all = append(all, group.Rules...)
	}
	require.NotEmpty(t, all)
	return all
}

func TestRulesDoWhatTheyAreMeantTo(t *testing.T) {
	process.Tool(t, folder, nil, "promtool", "check", "rules", "alerts.yaml")
	process.Tool(t, folder, nil, "promtool", "test", "rules", "alerts_test.yaml")
}

// Each alert, and each variant of those that share a name, has a case in which it
// fires and one in which it does not.
func TestEveryAlertHasItsCases(t *testing.T) {
	var file struct {
		Tests []struct {
			AlertRuleTest []struct {
				AlertName string `yaml:"alertname"`
				ExpAlerts []struct {
					ExpLabels map[string]string `yaml:"exp_labels"`
				} `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(read(t, folder+"/alerts_test.yaml")), &file))
	firing, silent := map[string]bool{}, map[string]bool{}
	for _, group := range file.Tests {
		for _, c := range group.AlertRuleTest {
			seen := map[string]bool{}
			for _, alert := range c.ExpAlerts {
				seen[variant(c.AlertName, alert.ExpLabels)] = true
			}
			for _, rule := range rules(t) {
				if name := variant(rule.Alert, rule.Labels); rule.Alert == c.AlertName {
					firing[name] = firing[name] || seen[name]
					silent[name] = silent[name] || !seen[name]
				}
			}
		}
	}
	for _, rule := range rules(t) {
		if rule.Alert != "" {
			name := variant(rule.Alert, rule.Labels)
			require.True(t, firing[name], "no case in alerts_test.yaml sees %s firing", name)
			require.True(t, silent[name], "no case in alerts_test.yaml sees %s silent", name)
		}
	}
}

// variant tells rules of one name apart.
func variant(name string, labels map[string]string) string {
	return strings.TrimSpace(name + " " + labels["severity"] + " " + labels["window"])
}

func TestEveryAlertSaysWhatToDo(t *testing.T) {
	const page = "https://github.com/achilles-blog/achilles/blob/main/docs/runbooks.md#"
	sections := map[string]string{}
	for _, section := range strings.Split(read(t, runbooks), "\n## ")[1:] {
		title, text, _ := strings.Cut(section, "\n")
		sections[title] = text
	}
	named := map[string]bool{}
	for _, rule := range rules(t) {
		if rule.Alert == "" {
			continue
		}
		named[rule.Alert] = true
		require.Contains(t, []string{"critical", "warning"}, rule.Labels["severity"], rule.Alert)
		require.NotEmpty(t, rule.Annotations["summary"], rule.Alert)
		require.NotEmpty(t, rule.Annotations["description"], rule.Alert)
		require.Equal(t, page+strings.ToLower(rule.Alert), rule.Annotations["runbook_url"])
		for _, part := range []string{"What it means", "Who is hurt", "How to look", "What to do", "When it is harmless"} {
			require.Contains(t, sections[rule.Alert], "**"+part+".**", "docs/runbooks.md, section %s", rule.Alert)
		}
	}
	for title := range sections {
		require.True(t, named[title], "docs/runbooks.md has a section %s, but there is no such alert", title)
	}
}

func TestReferencesInRunbooks(t *testing.T) {
	text := read(t, runbooks)
	for _, link := range regexp.MustCompile(`\]\(#([a-z]+)\)`).FindAllStringSubmatch(text, -1) {
		require.Contains(t, strings.ToLower(text), "\n## "+link[1]+"\n")
	}
}

// A ratio covers the time in its name.
func TestWindowsAreWhatTheirNamesSay(t *testing.T) {
	found := 0
	for _, rule := range rules(t) {
		_, window, ok := strings.Cut(rule.Record, ":ratio_rate")
		if !ok {
			continue
		}
		found++
		for _, used := range regexp.MustCompile(`\[(\w+)\]`).FindAllStringSubmatch(rule.Expr, -1) {
			require.Equal(t, window, used[1], rule.Record)
		}
	}
	require.Equal(t, 7, found)
}

// The chart replaces the timeout in this one place.
func TestTheStopWindowIsThatOfTheServices(t *testing.T) {
	windows := server.Default().Lifecycle()
	want := fmt.Sprintf("vector(%g)", (windows.DrainDelay + windows.ShutdownTimeout).Seconds())
	require.Equal(t, 1, strings.Count(read(t, alerts), want), "%s in alerts.yaml", want)
	for _, rule := range rules(t) {
		require.Equal(t, rule.Alert == "AchillesShutdownOverrun", strings.Contains(rule.Expr, want), "%s%s", rule.Alert, rule.Record)
	}
}

// The expressions cover every public route, and name no service.
func TestRulesCoverEveryService(t *testing.T) {
	all, err := services.Read("../..")
	require.NoError(t, err)
	routes := regexp.MustCompile(`route=~"([^"]+)"`)
	found := 0
	for _, expr := range expressions(t) {
		for _, selector := range routes.FindAllStringSubmatch(expr, -1) {
			found++
			public := regexp.MustCompile("^(" + selector[1] + ")$")
			for _, s := range all {
				for _, path := range s.Paths {
					require.True(t, public.MatchString(path), "the public route %s is not in %s", path, selector[0])
				}
			}
		}
		require.NotRegexp(t, `service=~?"[a-z]`, expr, "the list of services is in services/services.yaml")
	}
	require.Greater(t, found, 20)
}
