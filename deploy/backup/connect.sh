# How backup.sh and restore.sh reach the databases and the files: in Docker Compose, or elsewhere
# with BACKUP_OPTIONS and BACKUP_FILES. docs/backup.md explains the variables.

# The services with the names of their databases. A service that follows another one is listed
# before it, because it is backed up before it.
# BEGIN GENERATED backup-databases from services/services.yaml by make generate
databases='article=achilles_article tag=achilles_tag'
# END GENERATED
databases=${BACKUP_DATABASES:-$databases}

fail() {
  echo "${0##*/}: $*" >&2
  exit 1
}

# Docker Compose, with the file of this repository, and where the article service stores files there.
storage=/var/lib/achilles/files
compose() {
  (cd "$(dirname "$0")/../.." && exec docker compose "$@")
}

[ -n "${BACKUP_OPTIONS:-}" ] || docker compose version >/dev/null 2>&1 ||
  fail "there is no Docker Compose here: set BACKUP_OPTIONS to the option file of a server; docs/backup.md explains it"

# with_server runs a program of MariaDB that connects to the server of $service.
with_server() {
  program=$1
  shift
  if [ -n "${BACKUP_OPTIONS:-}" ]; then
    command -v "$program" >/dev/null || fail "$program is not installed (Debian: mariadb-client)"
    "$program" --defaults-file="$BACKUP_OPTIONS" --defaults-group-suffix="_$service" "$@"
  else
    compose exec -T mariadb sh -c 'MYSQL_PWD=$(cat /run/secrets/database-root); export MYSQL_PWD; exec "$0" --user=root "$@"' "$program" "$@"
  fi
}

# each_file runs a function for every file in $1, with its path below that. What ends with .tmp is
# not complete.
each_file() {
  (cd "$1" && find . -type f ! -name '*.tmp') >"$2"
  while read -r file; do
    "$3" "${file#./}"
  done <"$2"
}
