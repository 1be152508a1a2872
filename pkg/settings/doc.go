// Package settings fills a configuration struct from a YAML file, the environment and the flags of the command line. Each of
// them overrides the one before, and the file overrides the defaults, which the struct holds. Unknown settings are errors.
//
// A configuration is a struct of sections. A field tagged `mapstructure:"HttpPort"` in the section tagged "Server" has the
// key Server.HttpPort, the environment variable ACHILLES_SERVER_HTTPPORT and the flag --server.httpport; its `usage` tag is
// its line in --help. In the file the keys' case does not matter. Fields may be of type bool, int, uint, float, string,
// [Secret], [time.Duration] and []string.
//
//   - A duration is written with a unit ("1m30s"); a bare number is seconds. It must not be negative, unless the field is
//     tagged `allow:"negative"`.
//   - A list is a YAML list or a text separated by commas.
//   - A [Secret] has no flag, because flags can be seen in the list of processes.
//   - A string field XxxFile next to a [Secret] field Xxx names a file that holds the secret.
//   - The settings of an embedded struct tagged `mapstructure:",squash"` count as those of the struct around it.
//   - A field may have rules of go-playground/validator, as in `validate:"min=1,max=10"`. A field with other rules than min, max,
//     gt and oneof needs a tag `allowed`, which describes the allowed values in error messages.
//   - A field tagged `live:"true"` may change while the process runs, see [Live].
//   - A section, or the whole, may have a method Validate() error that compares fields with each other; [Invalid] makes its errors.
//
// An empty environment variable counts as not set. The variables that Kubernetes sets for services, such as
// ACHILLES_REDIS_PORT=tcp://10.0.0.7:6379, are not settings and are ignored. Other variables with the prefix are errors if their
// section exists or their name is similar to that of a setting; the rest may belong to other programs.
package settings
