// Package logging provides the logger: JSON lines on standard output in release mode,
// console lines otherwise, and optionally a rotating file.
package logging

import (
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/achilles-blog/achilles/pkg/settings"
)

// Config is the settings section Log.
type Config struct {
	Level       string `mapstructure:"Level" usage:"minimum level: debug, info, warn or error" live:"true"`
	LogSavePath string `mapstructure:"LogSavePath" usage:"directory of a rotating log file, in addition to standard output; empty for none"`
	LogFileName string `mapstructure:"LogFileName" usage:"name of the log file in LogSavePath"`
	MaxSize     int    `mapstructure:"MaxSize" usage:"size in megabytes at which the log file is rotated; 0: another program rotates it, and sends SIGUSR1" validate:"min=0" allowed:"a number of megabytes, or 0 if another program rotates the file"`
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
	level   levelControl
	writers []*writer
	recent  *recent
	file    *file // nil for none
}

// New returns a logger. It writes JSON lines to stdout in release mode, and console
// lines otherwise. If LogSavePath is set, it also writes JSON lines to a file, which is
// rotated by size. It returns an error if the file cannot be written.
//
// Lines are written in the background: logging never waits for a reader. Those below the
// level warn wait for others, to be written together, for a tenth of a second at most.
// Call Sync before the program ends.
func New(cfg Config, release bool, stdout io.Writer) (*Logger, error) {
	level, err := parseLevel(cfg.Level)
	if err != nil {
		return nil, err
	}
	l := &Logger{level: levelControl{now: zap.NewAtomicLevelAt(level), configured: level}, recent: &recent{}}
	if cfg.LogSavePath != "" {
		if l.file, err = openFile(cfg); err != nil {
			return nil, err
		}
	}
	var all zapcore.Core
	switch {
	case l.file == nil:
		all = l.to(encoder(release), stdout)
	case release: // both get the same lines, encoded once
		all = l.to(encoder(release), stdout, l.file)
	default:
		all = zapcore.NewTee(l.to(encoder(release), stdout), l.to(jsonEncoder(), l.file))
	}
	l.Logger = zap.New(&core{all, l.recent.core(), l.writers})
	return l, nil
}

func encoder(release bool) zapcore.Encoder {
	if release {
		return jsonEncoder()
	}
	return consoleEncoder()
}

// core has lines of the level warn and above written at once, and keeps the last errors.
type core struct {
	zapcore.Core
	recent  zapcore.Core
	writers []*writer
}

// With implements zapcore.Core.
func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{c.Core.With(fields), c.recent.With(fields), c.writers}
}

// Check implements zapcore.Core.
func (c *core) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write implements zapcore.Core.
func (c *core) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	err := c.Core.Write(entry, fields)
	if c.recent.Enabled(entry.Level) {
		_ = c.recent.Write(entry, fields) // in memory
	}
	if entry.Level >= zapcore.WarnLevel {
		for _, w := range c.writers {
			w.flush()
		}
	}
	return err
}

// to returns a core that writes to each of outs in the background.
func (l *Logger) to(encoder zapcore.Encoder, outs ...io.Writer) zapcore.Core {
	notice := func(lines int) []byte {
		line, err := encoder.Clone().EncodeEntry(
			zapcore.Entry{Level: zapcore.WarnLevel, Time: time.Now(), Message: "lines of the log were dropped: it was not read fast enough"},
			[]zapcore.Field{zap.Int("lines", lines)})
		if err != nil {
			return nil
		}
		defer line.Free()
		return slices.Clone(line.Bytes())
	}
	var all []zapcore.WriteSyncer
	for _, out := range outs {
		w := &writer{out: out, notice: notice, now: make(chan struct{}, 1)}
		l.writers, all = append(l.writers, w), append(all, w)
	}
	return zapcore.NewCore(encoder, zapcore.NewMultiWriteSyncer(all...), l.level.now)
}

// Reopen closes the log file, if there is one, and reports whether there is. The next
// line opens it by its name again: another program may have renamed it.
func (l *Logger) Reopen() (bool, error) {
	if l.file == nil {
		return false, nil
	}
	return true, l.file.Close()
}

// ShareFile tells whether another process writes to the log file, too, which is then not
// rotated. In any case the next line opens the file again.
func (l *Logger) ShareFile(other bool) error {
	if l.file == nil {
		return nil
	}
	return l.file.share(other)
}

// Collector returns the metric of lines that were dropped because nobody read them in
// time, or because they could not be written.
func (l *Logger) Collector() prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "achilles_log_dropped_lines_total",
		Help: "Lines of the log that were dropped, because nobody read them in time or because they could not be written.",
	}, func() float64 {
		lost := 0
		for _, w := range l.writers {
			lost += w.lost()
		}
		return float64(lost)
	})
}

// Close writes all lines, for which it waits a second at most, and closes the log file
// if there is one.
func (l *Logger) Close() error {
	l.level.close()
	err := l.Sync()
	if l.file != nil {
		err = errors.Join(err, l.file.Close())
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
	zapcore.TimeEncoderOfLayout("2006-01-02T15:04:05.000Z07:00")(t.UTC(), to)
}
