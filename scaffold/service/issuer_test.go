package service

import (
	"strings"
	"testing"
)

func TestWithIssuerRefuses(t *testing.T) {
	files, err := parse(t, "comment", "author:string(64)").render()
	if err != nil {
		t.Fatal(err)
	}
	bootstrap, migrations := string(files["internal/bootstrap/bootstrap.go"]), string(files["migrations/migrations.go"])
	const module = "github.com/achilles-blog/achilles"
	if _, _, err := WithIssuer(module, bootstrap, migrations); err != nil {
		t.Fatal(err)
	}
	for want, texts := range map[string][2]string{
		"the service has commands of its own":                   {strings.Replace(bootstrap, "Serve:", "Commands: nil,\nServe:", 1), migrations},
		"Command is not a call or a composite literal":          {strings.Replace(bootstrap, "func Command(", "func Other(", 1), migrations},
		"register has no variables base and binder":             {strings.ReplaceAll(bootstrap, "binder, err", "b, err"), migrations},
		"the field Shared is no map[int64]fs.FS in one line":    {bootstrap, strings.Replace(migrations, "Shared:", "Files2:", 1)},
		"it has the migration 3, which is that of the issuer":   {bootstrap, strings.Replace(migrations, "{2: ", "{3: x.Schema(), 2: ", 1)},
		"imports nothing of github.com/achilles-blog/achilles/": {strings.ReplaceAll(bootstrap, module, "example.com/x"), migrations},
	} {
		if _, _, err := WithIssuer(module, texts[0], texts[1]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
