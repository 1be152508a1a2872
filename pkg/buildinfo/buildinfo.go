// Package buildinfo describes the running build of the program.
package buildinfo

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// Set only by the linker:
//
//	go build -ldflags "-X github.com/achilles-blog/achilles/pkg/buildinfo.version=v1.2.3 …commit=… …buildTime=…"
var (
	version   string
	commit    string
	buildTime string
)

const unknown = "unknown"

// Info describes a build. Unknown fields are "unknown", an unknown version is "dev".
type Info struct {
	Version   string `json:"version"`
	Commit    string `json:"commit"`
	BuildTime string `json:"build_time"` // RFC 3339, UTC
	GoVersion string `json:"go_version"`
}

// Get returns the values set by the linker, or else those recorded by the Go toolchain.
func Get() Info {
	recorded, _ := debug.ReadBuildInfo()
	return complete(Info{Version: version, Commit: commit, BuildTime: buildTime}, recorded)
}

// String returns the build on one line.
func (i Info) String() string {
	return fmt.Sprintf("%s (commit %s, built %s, %s)", i.Version, i.Commit, i.BuildTime, i.GoVersion)
}

func complete(given Info, recorded *debug.BuildInfo) Info {
	found := Info{Version: "dev", Commit: unknown, BuildTime: unknown, GoVersion: runtime.Version()}
	if recorded != nil {
		found = merge(read(recorded), found)
	}
	return merge(given, found)
}

func read(recorded *debug.BuildInfo) Info {
	info := Info{Version: recorded.Main.Version}
	if info.Version == "(devel)" { // the version is unknown
		info.Version = ""
	}
	modified := false
	for _, setting := range recorded.Settings {
		switch setting.Key {
		case "vcs.revision":
			info.Commit = setting.Value
		case "vcs.time": // the time of the commit
			info.BuildTime = setting.Value
		case "vcs.modified":
			modified = setting.Value == "true"
		}
	}
	if modified && info.Commit != "" {
		info.Commit += "-dirty"
	}
	return info
}

// merge fills the empty fields of first from second.
func merge(first, second Info) Info {
	return Info{
		Version:   cmp.Or(first.Version, second.Version),
		Commit:    cmp.Or(first.Commit, second.Commit),
		BuildTime: cmp.Or(first.BuildTime, second.BuildTime),
		GoVersion: cmp.Or(first.GoVersion, second.GoVersion),
	}
}
