#!/bin/sh
# Makes the secrets of docker-compose.yaml, each a random one in a file of its own.
# Existing files are kept: the database has these passwords, and clients have tokens.
set -eu

dir=$(dirname "$0")/secrets
mkdir -p "$dir"
# The files are readable for the users of the containers; the folder is not for others.
chmod 700 "$dir"
# BEGIN GENERATED compose-secret-names from services/services.yaml by make generate
for name in database-tag database-article database-root redis feed; do
# END GENERATED
  if [ ! -s "$dir/$name" ]; then
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$dir/$name"
    chmod 444 "$dir/$name"
    echo "made $dir/$name"
  fi
done
# The key set, as "article key new" prints one. Its owner may write to it, because
# keys rotate in place.
if [ ! -s "$dir/keys.yaml" ]; then
  key=$(dd if=/dev/urandom bs=32 count=1 2>/dev/null | base64)
  printf 'keys:\n  - id: "first"\n    secret: "%s"\n    signs_from: 2020-01-01T00:00:00Z\n' "$key" >"$dir/keys.yaml"
  chmod 644 "$dir/keys.yaml"
  echo "made $dir/keys.yaml"
fi
