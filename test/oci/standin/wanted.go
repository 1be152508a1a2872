package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
)

// wanted is what the environment asks a new server to have.
type wanted struct {
	rootPassword, rootHost   string
	database, user, password string
}

// unknown is what the official image makes more of, and would be missing here
// without a word.
var unknown = []string{
	"ROOT_PASSWORD_HASH", "PASSWORD_HASH", "REPLICATION_USER", "REPLICATION_PASSWORD", "REPLICATION_PASSWORD_HASH",
	"MASTER_HOST", "MASTER_PORT", "HEALTHCHECK_GRANTS", "MYSQL_LOCALHOST_USER", "MYSQL_LOCALHOST_GRANTS",
}

// variables are an environment, in which _FILE and MYSQL_ have been followed.
type variables map[string]string

func wantedFrom(environ []string) (wanted, error) {
	given := variables{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		given[name] = value
	}
	for _, name := range unknown {
		if given["MARIADB_"+name] != "" {
			return wanted{}, fmt.Errorf("this stand-in for the official image does not know MARIADB_%s: leave it out", name)
		}
	}
	var w wanted
	var random, empty string
	for name, value := range map[string]*string{
		"ROOT_PASSWORD": &w.rootPassword, "ROOT_HOST": &w.rootHost, "DATABASE": &w.database, "USER": &w.user, "PASSWORD": &w.password,
		"RANDOM_ROOT_PASSWORD": &random, "ALLOW_EMPTY_ROOT_PASSWORD": &empty,
	} {
		var err error
		if *value, err = given.value(name); err != nil {
			return wanted{}, err
		}
	}
	if w.rootHost == "" {
		w.rootHost = "%"
	}
	return w.withRootPassword(random != "", empty != "" || given["MYSQL_ALLOW_EMPTY_PASSWORD"] != "")
}

func (w wanted) withRootPassword(random, empty bool) (wanted, error) {
	switch {
	case (w.user == "") != (w.password == ""):
		return w, errors.New("MARIADB_USER and MARIADB_PASSWORD go together: give both or none")
	case w.user == "root":
		return w, errors.New("MARIADB_USER cannot be root: MARIADB_ROOT_PASSWORD is for that")
	case random:
		w.rootPassword = rand.Text()
		fmt.Printf("GENERATED ROOT PASSWORD: %s\n", w.rootPassword)
	case w.rootPassword == "" && !empty:
		return w, errors.New("the database is new and root has no password: " +
			"give MARIADB_ROOT_PASSWORD, MARIADB_ROOT_PASSWORD_FILE, MARIADB_RANDOM_ROOT_PASSWORD=1 or MARIADB_ALLOW_EMPTY_ROOT_PASSWORD=1")
	}
	return w, nil
}

// value finds a variable under its two names, as it is or in a file.
func (v variables) value(name string) (string, error) {
	for _, prefix := range []string{"MARIADB_", "MYSQL_"} {
		plain, file := v[prefix+name], v[prefix+name+"_FILE"]
		switch {
		case plain != "" && file != "":
			return "", fmt.Errorf("%s%s and %[1]s%[2]s_FILE are both given: leave one out", prefix, name)
		case plain != "":
			return plain, nil
		case file != "":
			text, err := os.ReadFile(file) // #nosec G304 -- named to be read
			return strings.TrimRight(string(text), "\n"), err
		}
	}
	return "", nil
}

// statements are the SQL that makes it so.
func (w wanted) statements() string {
	var sql strings.Builder
	say := func(format string, values ...any) { fmt.Fprintf(&sql, format+";\n", values...) }
	say("SET @@SESSION.SQL_LOG_BIN=0")
	// Of the accounts without a password one is left, until the last line.
	say("DELETE FROM mysql.global_priv WHERE User='' OR User='root' AND Host<>'localhost'")
	say("FLUSH PRIVILEGES")
	if w.rootHost != "localhost" {
		say("CREATE USER root@%s IDENTIFIED BY %s", quote(w.rootHost), quote(w.rootPassword))
		say("GRANT ALL ON *.* TO root@%s WITH GRANT OPTION", quote(w.rootHost))
	}
	if w.database != "" {
		say("CREATE DATABASE IF NOT EXISTS %s", identifier(w.database))
	}
	if w.user != "" {
		say("CREATE USER %s@'%%' IDENTIFIED BY %s", quote(w.user), quote(w.password))
	}
	if w.user != "" && w.database != "" {
		say("GRANT ALL ON %s.* TO %s@'%%'", identifier(strings.NewReplacer("_", `\_`, "%", `\%`).Replace(w.database)), quote(w.user))
	}
	say("ALTER USER root@localhost IDENTIFIED BY %s", quote(w.rootPassword))
	return sql.String()
}

func quote(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}

func identifier(name string) string {
	return "`" + strings.ReplaceAll(name, "`", "``") + "`"
}
