#!/bin/bash
# The entrypoint of the stand-ins for the official images of MariaDB and Redis: the
# part of theirs that the chart and the overlays use. It rejects the rest.
set -euo pipefail
shopt -s nullglob

reject() {
  echo "$0: this stand-in for the official image $*" >&2
  exit 1
}

# quoted TEXT writes a string of SQL.
quoted() {
  local text=${1//\\/\\\\}
  printf "'%s'" "${text//\'/\\\'}"
}

# set_up SERVER... makes the databases of a server, which listens on no port
# until that is done.
set_up() {
  local variable root file server
  for variable in $(compgen -e); do
    case $variable in
    MARIADB_ROOT_PASSWORD_FILE | MARIADB_ROOT_HOST | MARIADB_INITDB_SKIP_TZINFO | MARIADB_AUTO_UPGRADE) ;;
    MARIADB_* | MYSQL_*) reject "does not know $variable" ;;
    esac
  done
  [ "${MARIADB_ROOT_HOST:-}" = localhost ] || reject "has root at localhost alone: say so by MARIADB_ROOT_HOST"
  root=$(cat "$MARIADB_ROOT_PASSWORD_FILE")
  mariadb-install-db --datadir=/var/lib/mysql --rpm --auth-root-authentication-method=normal --skip-test-db "${@:2}" >/dev/null
  "$@" --skip-networking &
  server=$!
  until mariadb-admin --user=root --silent ping 2>/dev/null; do
    kill -0 $server || exit 1
    sleep 0.1
  done
  mariadb --user=root <<SQL
DELETE FROM mysql.global_priv WHERE User='' OR User='root' AND Host<>'localhost';
FLUSH PRIVILEGES;
ALTER USER root@localhost IDENTIFIED BY $(quoted "$root");
SQL
  export MYSQL_PWD=$root
  for file in /docker-entrypoint-initdb.d/*; do
    case $file in
    *.sql) mariadb --user=root <"$file" ;;
    *) reject "runs files of SQL alone, not $file" ;;
    esac
  done
  mariadb-admin --user=root shutdown
  unset MYSQL_PWD
  wait $server
}

[ "$(id -u)" != 0 ] || reject "runs as the user of its server, not as root"
case ${1:-} in
redis-server) ;;
mariadbd) [ -d /var/lib/mysql/mysql ] || set_up "$@" ;;
*) reject "starts its server alone, not ${1:-nothing}" ;;
esac
exec "$@"
