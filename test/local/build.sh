#!/bin/sh
# build.sh OUTPUT FLAGS... PACKAGES... runs go build. When there is much to
# compile it says so on standard error, and how far it is.
output=$1
shift
total=$(go list -deps -f '{{if .Stale}}{{.ImportPath}}{{end}}' "$@" 2>/dev/null | grep -c .)
[ "$total" -ge 30 ] || exec go build -o "$output" "$@"

# progress counts the packages that go build -v names. Other lines are messages.
progress() {
	compiled=0
	while IFS= read -r line; do
		case $line in
		'status: '*) return "${line#status: }" ;;
		'' | *[\ :#]*) echo "$line" >&2 ;;
		*)
			compiled=$((compiled + 1))
			[ ! -t 2 ] || printf '\r\033[Kcompiled %d of %d packages: %s' "$compiled" "$total" "$line" >&2
			[ -t 2 ] || [ $((compiled % 50)) -ne 0 ] || echo "compiled $compiled of $total packages: $line" >&2 ;;
		esac
	done
}

echo "Compiling $total packages: a few minutes the first time, seconds from then on." >&2
{ go build -v -o "$output" "$@" 2>&1; echo "status: $?"; } | progress
status=$?
[ ! -t 2 ] || printf '\r\033[K' >&2
exit $status
