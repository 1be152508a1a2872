#!/bin/sh
# build.sh OUTPUT FLAGS... PACKAGES... runs go build. When there is much to
# download or to compile it says so on standard error, and how far it is.
output=$1
shift

# show prints the progress: on a terminal in place, elsewhere every 50th line.
show() {
	if [ -t 2 ]; then
		printf '\r\033[K%.75s' "$2" >&2
	elif [ $(($1 % 50)) -eq 0 ]; then
		echo "$2" >&2
	fi
}

hide() {
	[ ! -t 2 ] || printf '\r\033[K' >&2
}

# downloads reads the messages of go list. Errors are left to go build.
downloads() {
	count=0
	while IFS= read -r line; do
		case $line in
		'go: downloading '*)
			count=$((count + 1))
			[ "$count" -ne 1 ] || echo 'Downloading modules, which takes a minute or so the first time.' >&2
			show "$count" "downloaded $count modules: ${line#go: downloading }" ;;
		esac
	done
	hide
}

# packages reads what go build -v prints: the names of packages, and messages.
packages() {
	count=0
	while IFS= read -r line; do
		case $line in
		'status: '*) hide; return "${line#status: }" ;;
		'' | *[[:space:]:#]*) hide; echo "$line" >&2 ;;
		*) count=$((count + 1)); show "$count" "compiled $count of $total packages: $line" ;;
		esac
	done
}

total=$({ go list -deps -f '{{if .Stale}}{{.ImportPath}}{{end}}' "$@" 2>&1 >&3 | downloads; } 3>&1 | grep -c .)
[ "$total" -ge 30 ] || exec go build -o "$output" "$@"
echo "Compiling $total packages: a few minutes the first time, seconds from then on." >&2
{ go build -v -o "$output" "$@" 2>&1; echo "status: $?"; } | packages
