#!/bin/sh
# Restores a backup of backup.sh, while the services are stopped:
#
#   sh deploy/backup/restore.sh DIRECTORY                                               # Docker Compose
#   BACKUP_OPTIONS=client.cnf BACKUP_FILES=/srv/files sh deploy/backup/restore.sh DIRECTORY    # elsewhere
#
# With REPLACE=yes it deletes what the databases have. docs/backup.md explains it.
set -eu
. "$(dirname "$0")/connect.sh"

from=${1:-}
[ -n "$from" ] || fail "name the directory of the backup: sh $0 backups/monday"
for entry in $databases; do
  dump=$from/${entry%%=*}.sql.gz
  [ -f "$dump" ] || fail "there is no $dump: $from is no complete backup of ${databases}"
  gzip -t "$dump" || fail "$dump is damaged: take another backup"
  gzip -dc "$dump" | tail -n 1 | grep -q '^-- Dump completed' || fail "$dump is not the whole dump: take another backup"
done
[ -z "${BACKUP_FILES:-}" ] || [ -d "$from/files" ] || fail "$from has no files: unset BACKUP_FILES to restore without them"

services=
count() {
  with_server mariadb --batch --skip-column-names --execute="SELECT COUNT(*) FROM information_schema.$1 = '$name'"
}
for entry in $databases; do
  service=${entry%%=*} name=${entry#*=}
  services="$services $service"
  tables=$(count 'tables WHERE table_schema')
  [ "$tables" = 0 ] || [ "${REPLACE:-}" = yes ] ||
    fail "the database $name has $tables tables: set REPLACE=yes to delete them with all their data"
done
# shellcheck disable=SC2086 # a list
[ -n "${BACKUP_OPTIONS:-}" ] || compose stop $services
for entry in $databases; do
  service=${entry%%=*} name=${entry#*=}
  users=$(count 'processlist WHERE db')
  [ "$users" = 0 ] || fail "the database $name is in use by $users connections: stop the services first"
done

# Under another name until it is complete, as the service itself stores it.
copy() {
  [ ! -e "$BACKUP_FILES/$1" ] || return 0
  mkdir -p "$BACKUP_FILES/$(dirname "$1")"
  cp "$from/files/$1" "$BACKUP_FILES/$1.restored.tmp"
  mv "$BACKUP_FILES/$1.restored.tmp" "$BACKUP_FILES/$1"
}
if [ -n "${BACKUP_FILES:-}" ]; then
  echo "Copying the files to $BACKUP_FILES"
  mkdir -p "$BACKUP_FILES"
  each_file "$from/files" "$BACKUP_FILES/list.tmp" copy
  rm "$BACKUP_FILES/list.tmp"
elif [ -z "${BACKUP_OPTIONS:-}" ]; then
  echo "Copying the files"
  tar -C "$from/files" -cf - . | compose run --rm --no-deps -T files "mkdir -p $storage; cd $storage; tar --extract"
fi

in_part="is restored in part only: don't start the services, and restore again with REPLACE=yes"
trap 'fail "interrupted: $name $in_part"' INT TERM HUP
for entry in $databases; do
  service=${entry%%=*} name=${entry#*=}
  echo "Restoring $name"
  with_server mariadb --execute="DROP DATABASE IF EXISTS \`$name\`; CREATE DATABASE \`$name\` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
  gzip -dc "$from/$service.sql.gz" | with_server mariadb --max-allowed-packet=1G "$name" ||
    fail "$name $in_part"
done
trap - INT TERM HUP

if [ -n "${BACKUP_OPTIONS:-}" ]; then
  echo "Now run, with the settings of each service:"
  for service in $services; do
    echo "  $service migrate && $service epoch --new"
  done
  echo "Then start the services. Last, run the command recount of each."
  exit 0
fi
for service in $services; do
  compose run --rm --no-deps "$service-migrate"
  compose run --rm --no-deps "$service-migrate" epoch --new
done
compose up --detach --wait
for service in $services; do
  compose run --rm --no-deps "$service-migrate" recount
done
