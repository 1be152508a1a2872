#!/bin/sh
# Backs up the databases and the files of the services into a new directory, while they serve:
#
#   sh deploy/backup/backup.sh DIRECTORY                                               # Docker Compose
#   BACKUP_OPTIONS=client.cnf BACKUP_FILES=/srv/files sh deploy/backup/backup.sh DIRECTORY    # elsewhere
#
# docs/backup.md explains why the order of the steps makes the backup consistent.
set -eu
umask 077
. "$(dirname "$0")/connect.sh"

to=${1:-}
[ -n "$to" ] || fail "name the directory that the backup becomes: sh $0 backups/monday"
[ ! -e "$to" ] || fail "$to exists: name a new directory"
part=$to.part
rm -rf "$part"
mkdir -p "$part"
began=$(date +%s)

for entry in $databases; do
  service=${entry%%=*} name=${entry#*=}
  echo "Dumping $name"
  with_server mariadb-dump --single-transaction --hex-blob --no-tablespaces --skip-add-locks \
    --default-character-set=utf8mb4 --max-allowed-packet=1G "$name" >"$part/$service.sql"
  tail -n 1 "$part/$service.sql" | grep -q '^-- Dump completed' || fail "the dump of $name is incomplete"
  gzip "$part/$service.sql"
done

# A file never changes, so those that the newest other backup has are linked.
previous=$(ls -d "$(dirname "$to")"/*/files 2>/dev/null | grep -v '\.part/' | sort | tail -n 1)
copy() {
  mkdir -p "$part/files/$(dirname "$1")"
  ln "$previous/$1" "$part/files/$1" 2>/dev/null || cp "$BACKUP_FILES/$1" "$part/files/$1" ||
    [ ! -e "$BACKUP_FILES/$1" ] # it was collected, so no file of the dump needs it
}
if [ -n "${BACKUP_FILES:-}" ]; then
  echo "Copying the files in $BACKUP_FILES"
  [ -d "$BACKUP_FILES" ] || fail "BACKUP_FILES is $BACKUP_FILES, which is no directory"
  mkdir "$part/files"
  each_file "$BACKUP_FILES" "$part/list" copy
  rm "$part/list"
elif [ -z "${BACKUP_OPTIONS:-}" ]; then
  echo "Copying the files"
  # tar ends with 1 if a file was collected meanwhile.
  compose run --rm --no-deps -T files "cd $storage; tar --create --exclude='*.tmp' . || [ \$? = 1 ]" >"$part/files.tar"
  mkdir "$part/files"
  tar -C "$part/files" -xf "$part/files.tar"
  rm "$part/files.tar"
fi

took=$(($(date +%s) - began))
[ "$took" -lt "${BACKUP_WITHIN:-3600}" ] || fail "the backup took $took s, so bytes of files that were deleted meanwhile may be missing:" \
  "raise Files.CollectAfter of the article service, and set BACKUP_WITHIN to as many seconds"
mv "$part" "$to"
if [ -d "$to/files" ]; then
  echo "The backup is $to."
else
  echo "The backup is $to, without files: set BACKUP_FILES to their directory, or copy the bucket now."
fi
