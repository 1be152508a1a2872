#!/bin/sh
# Makes the secrets of docker-compose.yaml, each a random one in a file of its own.
# What is there already is kept: the database remembers its passwords.
set -eu

dir=$(dirname "$0")/secrets
mkdir -p "$dir"
# The containers' users have to read the files; this keeps everybody else out.
chmod 700 "$dir"
for name in database database-root redis feed; do
  if [ ! -s "$dir/$name" ]; then
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$dir/$name"
    chmod 444 "$dir/$name"
    echo "made $dir/$name"
  fi
done
