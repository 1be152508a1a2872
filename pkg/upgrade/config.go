package upgrade

import (
	"os"
	"syscall"
	"time"

	"github.com/achilles-blog/achilles/pkg/settings"
)

// None is the value of Config.Signal that turns upgrades off.
const None = "none"

// Config is the settings section Upgrade.
type Config struct {
	Signal  string        `mapstructure:"Signal" usage:"signal that replaces the process by a new one of the same program, which takes over its sockets, for hosts without Kubernetes: SIGHUP, SIGUSR2 or none" validate:"oneof=SIGHUP SIGUSR2 none"`
	Timeout time.Duration `mapstructure:"Timeout" usage:"how long the new process may take to be ready; then it is ended and the old one serves on" validate:"min=1s"`
	PIDFile string        `mapstructure:"PIDFile" usage:"file with the id of the process that serves; empty: none"`
}

// Default returns the defaults: no upgrades.
func Default() Config { return Config{Signal: None, Timeout: time.Minute} }

// Validate reports values that cannot work together.
func (c Config) Validate() error {
	if c.PIDFile != "" && c.Signal == None {
		return settings.Invalid("PIDFile", c.PIDFile, "empty, unless Upgrade.Signal is SIGHUP or SIGUSR2")
	}
	return nil
}

// signal returns the signal, nil for none.
func (c Config) signal() os.Signal {
	switch c.Signal {
	case "SIGHUP":
		return syscall.SIGHUP
	case "SIGUSR2":
		return syscall.SIGUSR2
	}
	return nil
}
