package fields

import (
	"fmt"
	"go/token"
	"slices"
	"strings"
)

// checkFieldName returns an error if a field can't have the name.
func checkFieldName(name string) error {
	switch {
	case !snake.MatchString(name):
		return fmt.Errorf("%q is no name of a field: it has lower-case words of letters and digits with single _ between them, as article_id", name)
	case len(name) > maxName:
		return fmt.Errorf("%s is too long: names have at most %d characters", name, maxName)
	case slices.Contains(reservedFields(), name):
		return fmt.Errorf("every resource has %s, or a parameter of its name: choose another one", name)
	case reservedInGo(name):
		return fmt.Errorf("%s is a word of Go: choose another name, such as %s_value", name, name)
	case reservedInSQL(name):
		return fmt.Errorf("%s is a word of SQL: choose another name, such as %s_value", name, name)
	}
	return nil
}

// CheckService returns an error if a service can't have the name.
func CheckService(name string) error {
	if err := checkName("service", name); err != nil {
		return err
	}
	if slices.Contains([]string{"pkg", "test", "scaffold", "services", "deploy", "docs", "all", "gateway", "achilles", "devserver", "migrate", "redis", "mariadb", "mysql",
		"prometheus", "grafana", "haproxy", "common", "util", "internal"}, name) {
		return fmt.Errorf("a service can't be named %s, which names something else here: choose another name", name)
	}
	return nil
}

// CheckResource returns an error if a resource can't have the name and the plural.
func CheckResource(name, plural string) error {
	if err := checkName("resource", name); err != nil {
		return err
	}
	if err := checkName("plural", plural); err != nil {
		return fmt.Errorf("%w (PLURAL=… sets it)", err)
	}
	switch {
	case plural == name:
		return fmt.Errorf("%s has the plural %s, too: set another one, as in PLURAL=%slist", name, plural, name)
	case strings.HasSuffix(name, "api") || strings.HasSuffix(name, "store") || strings.HasSuffix(name, "feed"):
		return fmt.Errorf("a resource can't be named %s, because its packages would look like the api, the store or the feed of another one: choose another name", name)
	case slices.Contains(packages(), name) || slices.Contains(packages(), plural):
		return fmt.Errorf("%s is the name of a package that the resource uses: choose another name", name)
	case slices.Contains([]string{"request", "response", "envelope", "problem", "page", "pager", "list", "batch", "change", "snapshot", "filter", "form", "auth", "file", "upload"}, name):
		return fmt.Errorf("%s is the name of something that every resource has: choose another one", name)
	}
	return nil
}

// checkName returns an error unless the name is a package of Go, a table of SQL, a DNS
// label and a part of a URL.
func checkName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the %s has no name", what)
	case !identifier.MatchString(name):
		return fmt.Errorf("%q is no name of a %s: it has lower-case letters and digits only and begins with a letter, because it names a package, a table and a host", name, what)
	case len(name) > maxName:
		return fmt.Errorf("%s is too long: names have at most %d characters", name, maxName)
	case reservedInGo(name):
		return fmt.Errorf("%s is a word of Go: choose another name", name)
	case reservedInSQL(name):
		return fmt.Errorf("%s is a word of SQL: choose another name", name)
	}
	return nil
}

// Plural returns the plural of an English word.
func Plural(name string) string {
	switch last := len(name) - 1; {
	case last < 1:
		return name + "s"
	case name[last] == 'y' && !strings.ContainsRune("aeiou", rune(name[last-1])):
		return name[:last] + "ies"
	case name[last] == 's' || name[last] == 'x' || name[last] == 'z' || strings.HasSuffix(name, "ch") || strings.HasSuffix(name, "sh"):
		return name + "es"
	default:
		return name + "s"
	}
}

// Article returns the indefinite article of an English word.
func Article(name string) string {
	if strings.ContainsRune("aeio", rune(name[0])) || strings.HasPrefix(name, "un") {
		return "an"
	}
	return "a"
}

// GoName returns the exported name of Go for a name in snake case: ArticleID for article_id.
func GoName(name string) string {
	var result strings.Builder
	for word := range strings.SplitSeq(name, "_") {
		if slices.Contains(initialisms(), word) {
			result.WriteString(strings.ToUpper(word))
			continue
		}
		result.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return result.String()
}

// initialisms returns those that Go's linters know.
func initialisms() []string {
	return strings.Fields("acl api ascii cpu css dns eof guid html http https id ip json lhs qps ram rhs rpc sla smtp sql ssh tcp tls ttl udp ui uid uuid uri url utf8 vm xml xmpp xsrf xss")
}

// reservedFields returns the columns, the parameters of lists and the names in Go that every
// resource has.
func reservedFields() []string {
	return strings.Fields("id created_at created_by updated_at updated_by is_deleted revision version actor sequence kind epoch value " +
		"page page_size after order_by limit offset order wait total atomic fields include encodings shared read_only draft parse token locale number table_name after_find")
}

// packages returns the packages that generated files import, and names that they use.
func packages() []string {
	return strings.Fields("api app store bootstrap docs migrations main testing context errors fmt slices time sync atomic http url json strings strconv sql math cmp gin zap gorm clause schema " +
		"auth batch cache changefeed client coalesce command cursor follow database dbtest apitest feedtest errcode health idempotency replay locale logging memory metrics readmodel requests responses " +
		"server service settings spelling status swagger sqlfeed ratelimit buildinfo observer zapcore require option options token internal common util global helper test tests vendor " +
		"access tagfeed slug webfeed frontmatter importer exporter blobs media principal viewer state migration sequence change")
}

// reservedInGo reports whether a name is a keyword of Go, or predeclared.
func reservedInGo(name string) bool {
	return token.IsKeyword(name) || slices.Contains(strings.Fields("any append bool byte cap clear close comparable complex complex64 complex128 copy delete error false float32 float64 imag int int8 int16 "+
		"int32 int64 iota len make max min new nil panic print println real recover rune string true uint uint8 uint16 uint32 uint64 uintptr init"), name)
}

// reservedInSQL reports whether a name is reserved in MySQL, MariaDB or SQLite.
func reservedInSQL(name string) bool {
	return slices.Contains(strings.Fields(`
accessible action add all alter always analyze and array as asc asensitive attach autoincrement before begin between bigint binary blob both by call cascade case change char character check
collate column commit condition conflict constraint continue convert create cross cube cume_dist current current_date current_role current_time current_timestamp current_user cursor
database databases day_hour day_microsecond day_minute day_second dec decimal declare default deferrable deferred delayed delete dense_rank desc describe detach deterministic distinct distinctrow
div double drop dual each else elseif empty enclosed end escape escaped except exclude exclusive exists exit explain fail false fetch filter first first_value float following for force foreign
from full fulltext function general generated get glob grant group grouping groups having high_priority hour_microsecond hour_minute hour_second if ignore ignore_server_ids immediate in index
indexed infile initially inner inout insensitive insert instead int integer intersect interval into io_after_gtids is isnull iterate join json_table key keys kill lag last last_value lateral
lead leading leave left like limit linear lines load localtime localtimestamp lock long longblob longtext loop low_priority manual master_bind match materialized maxvalue mediumblob mediumint
mediumtext middleint minute_microsecond minute_second mod modifies natural no no_write_to_binlog not nothing notnull nth_value ntile null nulls numeric of offset on optimize optimizer_costs
option optionally or order others out outer outfile over parallel partition percent_rank plan pragma preceding precision primary procedure purge query qualify raise range rank read reads
read_write real recursive references regexp reindex release rename repeat replace require resignal restrict return returning revoke right rlike rollback row row_number rows savepoint schema
schemas second_microsecond select sensitive separator set show signal smallint spatial specific sql sql_big_result sql_calc_found_rows sql_small_result sqlexception sqlstate sqlwarning ssl
starting stored straight_join system table tablesample temp temporary terminated then ties tinyblob tinyint tinytext to trailing transaction trigger true unbounded undo union unique unlock
unsigned update usage use using utc_date utc_time utc_timestamp vacuum values varbinary varchar varcharacter varying view virtual when where while window with without write xor year_month
zerofill`), name)
}
