package database

import (
	"errors"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/pkg/tlsfiles"
)

// The values of Config.DBType. The folders of a service's migrations have the same
// names.
const (
	MySQL  = "mysql"
	SQLite = "sqlite"
)

// Config is the section Database.
type Config struct {
	DBType          string          `mapstructure:"DBType" usage:"mysql (MySQL 8, MariaDB 10.6 or later) or sqlite" validate:"oneof=mysql sqlite"`
	Username        string          `mapstructure:"Username" usage:"account at the MySQL server"`
	Password        settings.Secret `mapstructure:"Password" usage:"password of the account"`
	PasswordFile    string          `mapstructure:"PasswordFile" usage:"file to read the password from"`
	Host            string          `mapstructure:"Host" usage:"address of the MySQL server: host:port, or the path of its socket"`
	DBName          string          `mapstructure:"DBName" usage:"name of the database; for sqlite the path of its file"`
	TablePrefix     string          `mapstructure:"TablePrefix" usage:"prefix of the names of all tables"`
	TLS             string          `mapstructure:"TLS" usage:"encryption to the MySQL server: false, true, skip-verify or preferred" validate:"oneof=false true skip-verify preferred"`
	CAFile          string          `mapstructure:"CAFile" usage:"file with the CA certificates that the MySQL server's is verified with, empty for those of the system; needs TLS: true"`
	CertFile        string          `mapstructure:"CertFile" usage:"file with the client certificate for the MySQL server, empty for none; needs TLS"`
	KeyFile         string          `mapstructure:"KeyFile" usage:"file with the key of CertFile"`
	MaxIdleConns    int             `mapstructure:"MaxIdleConns" usage:"connections kept open while unused" validate:"min=0"`
	MaxOpenConns    int             `mapstructure:"MaxOpenConns" usage:"connections open at once" validate:"min=1"`
	ConnMaxLifetime time.Duration   `mapstructure:"ConnMaxLifetime" usage:"age at which a connection is replaced, 0 for never" validate:"min=0"`
	ConnMaxIdleTime time.Duration   `mapstructure:"ConnMaxIdleTime" usage:"time after which an unused connection is closed, 0 for never" validate:"min=0"`
	Timeout         time.Duration   `mapstructure:"Timeout" usage:"how long one database operation may take" validate:"min=100ms"`
	MigrateWait     time.Duration   `mapstructure:"MigrateWait" usage:"how long migrate waits for a MySQL server that it can't use yet, 0 for not at all" validate:"min=0"`
}

// Default returns the defaults for a MySQL server on this machine. The Timeout
// allows a response with 503 within two seconds.
func Default() Config {
	return Config{
		DBType:          MySQL,
		Host:            "127.0.0.1:3306",
		TablePrefix:     "blog_",
		TLS:             "false",
		MaxIdleConns:    10,
		MaxOpenConns:    30,
		ConnMaxLifetime: 5 * time.Minute,
		ConnMaxIdleTime: time.Minute,
		Timeout:         1500 * time.Millisecond,
		MigrateWait:     5 * time.Minute,
	}
}

var (
	prefixes      = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]{0,31})?$`)
	databaseNames = regexp.MustCompile(`^[A-Za-z0-9_$-]{1,64}$`)
)

// Validate reports the names and addresses that cannot work with DBType.
func (c Config) Validate() error {
	var problems []error
	check := func(ok bool, key, got, allowed string) {
		if !ok {
			problems = append(problems, settings.Invalid(key, got, allowed))
		}
	}
	switch c.DBType {
	case MySQL:
		check(databaseNames.MatchString(c.DBName), "DBName", c.DBName, "1 to 64 letters, digits, _, $ or -")
		check(c.Username != "", "Username", c.Username, "the account's name at the MySQL server")
		check(validHost(c.Host), "Host", c.Host, "host:port, or the absolute path of a socket")
	case SQLite:
		check(validFile(c.DBName), "DBName", c.DBName, "the path of a file, without ? and not :memory: or a file: URI")
	}
	encrypted := c.DBType == MySQL && c.TLS != "false"
	check(c.CAFile == "" || encrypted && c.TLS == "true", "CAFile", c.CAFile, "empty unless TLS is true and DBType is mysql")
	check(c.CertFile == "" || encrypted, "CertFile", c.CertFile, "empty unless TLS is on and DBType is mysql")
	check(prefixes.MatchString(c.TablePrefix), "TablePrefix", c.TablePrefix, "at most 32 letters, digits or _, not beginning with a digit")
	check(c.MaxIdleConns <= c.MaxOpenConns, "MaxIdleConns", strconv.Itoa(c.MaxIdleConns), "0 to MaxOpenConns")
	return errors.Join(append(problems, c.tlsFiles().Validate())...)
}

func (c Config) tlsFiles() tlsfiles.Config {
	return tlsfiles.Config{CAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile, SkipVerify: c.TLS != "true"}
}

func validHost(host string) bool {
	return strings.HasPrefix(host, "/") || settings.ValidHostPort(address(host))
}

// validFile rejects databases in memory: each connection of the pool would have
// its own.
func validFile(path string) bool {
	return path != "" && !strings.Contains(path, "?") &&
		!strings.HasPrefix(path, "file:") && !strings.HasPrefix(path, ":memory:")
}

// address adds MySQL's default port to a host without a port.
func address(host string) string {
	if strings.HasPrefix(host, "[") || strings.Count(host, ":") == 1 {
		return host
	}
	return net.JoinHostPort(host, "3306")
}
