package database_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/settings"
)

func TestValidate(t *testing.T) {
	mysql := database.Default()
	mysql.Username, mysql.DBName = "blog", "achilles_tag"
	sqlite := database.Default()
	sqlite.DBType, sqlite.DBName, sqlite.Host = database.SQLite, "var/tag.db", ""
	cases := map[string]struct {
		base   database.Config
		change func(*database.Config)
		want   string // the key that is rejected; "" for none
	}{
		"mysql":                  {mysql, func(*database.Config) {}, ""},
		"sqlite":                 {sqlite, func(*database.Config) {}, ""},
		"no prefix":              {mysql, func(c *database.Config) { c.TablePrefix = "" }, ""},
		"host without a port":    {mysql, func(c *database.Config) { c.Host = "db.example.org" }, ""},
		"IPv6":                   {mysql, func(c *database.Config) { c.Host = "::1" }, ""},
		"IPv6 with a port":       {mysql, func(c *database.Config) { c.Host = "[::1]:3307" }, ""},
		"socket":                 {mysql, func(c *database.Config) { c.Host = "/run/mysqld/mysqld.sock" }, ""},
		"port too high":          {mysql, func(c *database.Config) { c.Host = "db:70000" }, "Host"},
		"port not a number":      {mysql, func(c *database.Config) { c.Host = "db:mysql" }, "Host"},
		"no host":                {mysql, func(c *database.Config) { c.Host = "" }, "Host"},
		"unknown type":           {mysql, func(c *database.Config) { c.DBType = "postgres" }, "DBType"},
		"no user":                {mysql, func(c *database.Config) { c.Username = "" }, "Username"},
		"name to break out with": {mysql, func(c *database.Config) { c.DBName = "a`b" }, "DBName"},
		"no name":                {mysql, func(c *database.Config) { c.DBName = "" }, "DBName"},
		"in memory":              {sqlite, func(c *database.Config) { c.DBName = ":memory:" }, "DBName"},
		"URI":                    {sqlite, func(c *database.Config) { c.DBName = "file:a.db" }, "DBName"},
		"path with options":      {sqlite, func(c *database.Config) { c.DBName = "a.db?mode=ro" }, "DBName"},
		"prefix to inject with":  {mysql, func(c *database.Config) { c.TablePrefix = "x; DROP" }, "TablePrefix"},
		"prefix with a digit":    {mysql, func(c *database.Config) { c.TablePrefix = "1_" }, "TablePrefix"},
		"TLS":                    {mysql, func(c *database.Config) { c.TLS = "yes" }, "TLS"},
		"certificates":           {mysql, func(c *database.Config) { c.TLS, c.CertFile, c.KeyFile = "preferred", "a", "b" }, ""},
		"CA without TLS":         {mysql, func(c *database.Config) { c.CAFile = "ca.pem" }, "CAFile"},
		"CA that is ignored":     {mysql, func(c *database.Config) { c.TLS, c.CAFile = "skip-verify", "ca.pem" }, "CAFile"},
		"certificate of SQLite":  {sqlite, func(c *database.Config) { c.TLS, c.CertFile, c.KeyFile = "true", "a", "b" }, "CertFile"},
		"certificate, no key":    {mysql, func(c *database.Config) { c.TLS, c.CertFile = "true", "a" }, "KeyFile"},
		"key, no certificate":    {mysql, func(c *database.Config) { c.TLS, c.KeyFile = "true", "a" }, "KeyFile"},
		"no connection":          {mysql, func(c *database.Config) { c.MaxOpenConns, c.MaxIdleConns = 0, 0 }, "MaxOpenConns"},
		"more idle than open":    {mysql, func(c *database.Config) { c.MaxIdleConns = 31 }, "MaxIdleConns"},
		"negative lifetime":      {mysql, func(c *database.Config) { c.ConnMaxLifetime = -1 }, "ConnMaxLifetime"},
		"negative idle time":     {mysql, func(c *database.Config) { c.ConnMaxIdleTime = -1 }, "ConnMaxIdleTime"},
		"no time":                {mysql, func(c *database.Config) { c.Timeout = 0 }, "Timeout"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := c.base
			c.change(&cfg)
			err := settings.Validate(&cfg)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want+": ")
			_, opened := database.Open(cfg, nil)
			require.ErrorContains(t, opened, c.want+": ")
		})
	}
	require.ErrorContains(t, settings.Validate(&database.Config{DBType: "x"}), "Timeout: ", "all problems at once")
}
