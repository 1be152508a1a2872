// Package logging provides the logger: JSON lines on standard output in release mode,
// console lines otherwise, and optionally a rotating file.
package logging

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/achilles-blog/achilles/pkg/settings"
)

// Config is the settings section Log.
type Config struct {
	Level       string `mapstructure:"Level" usage:"minimum level: debug, info, warn or error"`
	LogSavePath string `mapstructure:"LogSavePath" usage:"directory of a rotating log file, in addition to standard output; empty for none"`
	LogFileName string `mapstructure:"LogFileName" usage:"name of the log file in LogSavePath"`
	MaxSize     int    `mapstructure:"MaxSize" usage:"size in megabytes at which the log file is rotated" validate:"min=1" allowed:"at least 1 megabyte"`
	MaxBackups  int    `mapstructure:"MaxBackups" usage:"number of rotated log files to keep; 0 for all" validate:"min=0" allowed:"a number of files, or 0 to keep all"`
	MaxAge      int    `mapstructure:"MaxAge" usage:"days to keep rotated log files; 0 for ever" validate:"min=0" allowed:"a number of days, or 0 to keep them for ever"`
}

// Default returns the defaults: level info, to standard output only.
func Default() Config {
	return Config{Level: "info", LogFileName: "achilles.log", MaxSize: 100, MaxBackups: 7, MaxAge: 30}
}

// Validate returns an error if Level or LogFileName is invalid.
func (c Config) Validate() error {
	_, err := parseLevel(c.Level)
	if c.LogSavePath != "" && !validFileName(c.LogFileName) {
		err = errors.Join(err, settings.Invalid("LogFileName", c.LogFileName, "a file name without a directory, such as tag.log"))
	}
	return err
}

func validFileName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, `/\`)
}

var levels = []string{"debug", "info", "warn", "error"}

func parseLevel(text string) (zapcore.Level, error) {
	if !slices.Contains(levels, text) {
		return 0, settings.Invalid("Level", text, "debug, info, warn or error")
	}
	return zapcore.ParseLevel(text)
}

// Logger is a zap logger with its level and its optional file.
type Logger struct {
	*zap.Logger
	level zap.AtomicLevel
	file  io.Closer
}

// New returns a logger. It writes JSON lines to stdout in release mode, and console
// lines otherwise. If LogSavePath is set, it also writes JSON lines to a file, which is
// rotated by size. It returns an error if the file cannot be written.
func New(cfg Config, release bool, stdout io.Writer) (*Logger, error) {
	level, err := parseLevel(cfg.Level)
	if err != nil {
		return nil, err
	}
	l := &Logger{level: zap.NewAtomicLevelAt(level)}
	encoder := jsonEncoder()
	if !release {
		encoder = consoleEncoder()
	}
	core := zapcore.NewCore(encoder, lock(stdout), l.level)
	if cfg.LogSavePath != "" {
		file, err := openFile(cfg)
		if err != nil {
			return nil, err
		}
		l.file = file
		core = zapcore.NewTee(core, zapcore.NewCore(jsonEncoder(), lock(file), l.level))
	}
	l.Logger = zap.New(core)
	return l, nil
}

// SetLevel changes the minimum level of this logger and of all loggers derived from it.
func (l *Logger) SetLevel(text string) error {
	level, err := parseLevel(text)
	if err != nil {
		return err
	}
	l.level.SetLevel(level)
	return nil
}

// Close closes the log file, if there is one. Lines are not buffered.
func (l *Logger) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// lock hides the Sync method of w, which fails on terminals and pipes.
func lock(w io.Writer) zapcore.WriteSyncer {
	return zapcore.Lock(zapcore.AddSync(struct{ io.Writer }{w}))
}

func openFile(cfg Config) (*lumberjack.Logger, error) {
	path := filepath.Join(cfg.LogSavePath, cfg.LogFileName)
	// lumberjack opens the file at the first line, which is too late to fail the start.
	if err := tryFile(path); err != nil {
		return nil, fmt.Errorf("log file %s cannot be written: %s; set Log.LogSavePath to a directory that this user can write, "+
			"or leave it empty to log to standard output only", path, cause(err))
	}
	return &lumberjack.Logger{Filename: path, MaxSize: cfg.MaxSize, MaxBackups: cfg.MaxBackups, MaxAge: cfg.MaxAge}, nil
}

func tryFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) // #nosec G304 -- the configured file
	if err != nil {
		return err
	}
	return file.Close()
}

// cause removes the path, which the outer message contains.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func jsonEncoder() zapcore.Encoder {
	return zapcore.NewJSONEncoder(zapcore.EncoderConfig{
		TimeKey: "ts", LevelKey: "level", NameKey: "logger", MessageKey: "msg", StacktraceKey: "stack",
		EncodeTime: encodeTime, EncodeLevel: zapcore.LowercaseLevelEncoder, EncodeDuration: zapcore.SecondsDurationEncoder,
		EncodeName: zapcore.FullNameEncoder,
	})
}

func consoleEncoder() zapcore.Encoder {
	return zapcore.NewConsoleEncoder(zapcore.EncoderConfig{
		TimeKey: "ts", LevelKey: "level", NameKey: "logger", MessageKey: "msg", StacktraceKey: "stack",
		EncodeTime: zapcore.TimeEncoderOfLayout("15:04:05.000"), EncodeLevel: zapcore.CapitalLevelEncoder,
		EncodeDuration: zapcore.StringDurationEncoder, EncodeName: zapcore.FullNameEncoder,
	})
}

func encodeTime(t time.Time, to zapcore.PrimitiveArrayEncoder) {
	to.AppendString(t.UTC().Format("2006-01-02T15:04:05.000Z07:00"))
}
