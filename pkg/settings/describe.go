package settings

// Description describes a setting of a configuration.
type Description struct {
	Key      string `json:"key"`
	Variable string `json:"variable"`
	Flag     string `json:"flag,omitempty"` // "" for a secret
	Type     string `json:"type"`
	Value    string `json:"value"` // as in a YAML file; a secret is masked
	Usage    string `json:"usage"`
	Allowed  string `json:"allowed,omitempty"` // "" if the type says all
	// Live reports whether the setting changes while the process runs.
	Live bool `json:"live"`
}

// Describe returns the settings of the configuration to which dst points, with their present values.
func Describe(dst any) ([]Description, error) {
	known, err := describe(dst)
	if err != nil {
		return nil, err
	}
	all := make([]Description, 0, len(known.fields))
	for _, f := range known.fields {
		s := Description{
			Key: f.key, Variable: f.variable(), Flag: "--" + f.flag(), Type: kindOf(f.value.Type()), Value: f.yaml(), Usage: f.usage,
			Allowed: f.allowedByRules(), Live: f.live,
		}
		if f.secret() {
			s.Flag, s.Type, s.Value = "", "secret", f.text()
		}
		all = append(all, s)
	}
	return all, nil
}
