#!/bin/sh
# Replaces the containers of a service while it goes on serving:
#
#   docker compose build tag && sh deploy/compose/roll.sh tag
#
# As in a cluster: migrate beside the old ones, start as many new ones, wait until
# they are ready, and only then let the old ones drain and go.
set -eu

service=${1:-}
case $service in
tag | article) ;;
*)
  echo "roll.sh: say which service to replace: roll.sh tag, or roll.sh article" >&2
  exit 1
  ;;
esac
cd "$(dirname "$0")/../.."

old=$(docker compose ps --quiet "$service")
if [ -z "$old" ]; then
  echo "roll.sh: $service is not running; start it with: docker compose up --detach --wait" >&2
  exit 1
fi
count=$(echo "$old" | wc -l)

docker compose run --rm --no-deps "$service-migrate"
docker compose up --detach --wait --no-deps --no-recreate --scale "$service=$((2 * count))" "$service"
# The proxy looks for new ones once a second, and asks them before it believes them.
sleep 3
# One after the other, each within its stop_grace_period.
for container in $old; do
  docker stop "$container"
  docker rm "$container"
done
