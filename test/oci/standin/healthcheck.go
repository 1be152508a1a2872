package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// credentials is a file in the data directory, as in the official image.
const credentials = ".my-healthcheck.cnf"

// addHealthcheck makes the account that healthcheck.sh asks with.
func (db *mariadb) addHealthcheck() error {
	const user = "healthcheck"
	password := rand.Text()
	var sql strings.Builder
	for _, host := range []string{"127.0.0.1", "::1", "localhost"} {
		fmt.Fprintf(&sql, "CREATE USER %s@'%s' IDENTIFIED BY '%s';\n", user, host, password)
	}
	if err := db.query(strings.NewReader(sql.String()), ""); err != nil {
		return err
	}
	text := fmt.Sprintf("[client]\nhost=127.0.0.1\nprotocol=tcp\nport=%s\nuser=%s\npassword=%s\n", db.port, user, password)
	return os.WriteFile(filepath.Join(db.data, credentials), []byte(text), 0o600)
}

// healthcheck makes the tests that args name.
func healthcheck(args []string) error {
	tests := map[string]string{
		"--connect":            "SELECT 1",
		"--innodb_initialized": "SELECT 1 FROM information_schema.ENGINES WHERE ENGINE='InnoDB' AND SUPPORT IN ('YES','DEFAULT')",
	}
	if len(args) == 0 {
		return errors.New("what is to be tested? Give --connect or --innodb_initialized")
	}
	for _, arg := range args {
		sql, known := tests[arg]
		if !known {
			return fmt.Errorf("this stand-in for the official image does not know %s: it has --connect and --innodb_initialized", arg)
		}
		output, err := exec.Command("mariadb", "--defaults-file="+filepath.Join("/var/lib/mysql", credentials), // #nosec G204 -- the client
			"--batch", "--skip-column-names", "--execute="+sql).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", arg, err, output)
		}
		if answer := strings.TrimSpace(string(output)); answer != "1" {
			return fmt.Errorf("%s: the server answers %q", arg, answer)
		}
	}
	return nil
}
