#!/bin/sh
# Replaces the containers of a service without an interruption:
#
#   docker compose build tag && sh deploy/compose/roll.sh tag
#
# As in a cluster: migrate beside the old containers, start as many new ones, wait
# until they are ready, and only then stop the old ones, which drain.
set -eu

cd "$(dirname "$0")/../.."
service=${1:-}
services=$(docker compose config --services | sed -n 's/-migrate$//p' | sort | tr '\n' ' ')
case " $services" in
*" ${service:-?} "*) ;;
*)
  echo "roll.sh: name the service to replace, one of: $services" >&2
  exit 1
  ;;
esac

old=$(docker compose ps --quiet "$service")
if [ -z "$old" ]; then
  echo "roll.sh: $service is not running; start it with: docker compose up --detach --wait" >&2
  exit 1
fi
count=$(echo "$old" | wc -l)

docker compose run --rm --no-deps "$service-migrate"
docker compose up --detach --wait --no-deps --no-recreate --scale "$service=$((2 * count))" "$service"
# The proxy resolves the names once a second, and checks a new replica before it uses it.
sleep 3
# One after the other, each within its stop_grace_period.
for container in $old; do
  docker stop "$container"
  docker rm "$container"
done
