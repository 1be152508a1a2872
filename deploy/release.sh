#!/usr/bin/env bash
# Makes a release up to the push: make release VERSION=v1.2.3
#
#   release.sh v1.2.3     version, changelog, commit, tag, and what is published in dist/
#   release.sh versions   every place of the version, as "FILE VERSION"
#
# A step that fails takes the commit and the tag back.
set -euo pipefail
cd "$(dirname "$0")/.."

# Each file that says the version, and what stands before it there.
files=(
  deploy/helm/achilles/Chart.yaml
  deploy/kustomize/base/kustomization.yaml
  deploy/kustomize/base/services/kustomization.yaml
  deploy/kustomize/overlays/staging/kustomization.yaml
  deploy/kustomize/overlays/production/kustomization.yaml
  deploy/kustomize/README.md
  deploy/examples/argo-cd/application.yaml
  deploy/examples/flux/release.yaml
  deploy/compose/README.md
  docs/backup.md
  docker-compose.yaml
)
before='(version: |appVersion: "|targetRevision: |semver: |newTag: |ref=v|ACHILLES_TAG:-|`ACHILLES_TAG` \| `)'
semver='(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?'

versions() {
  grep -oE "$before$semver" "${files[@]}" | sed -E "s#^([^:]*):$before#\1 #"
}

fail() {
  echo "achilles: $*" >&2
  exit 1
}

check() {
  [[ $tag =~ ^v$semver$ ]] || fail "VERSION ${tag:+$tag }is not a version such as v1.2.3 or v1.2.3-rc.1: make release VERSION=v1.2.3"
  [ -z "$(git status --porcelain)" ] || fail "the working tree has changes: commit or stash them (git status lists them)"
  branch=$(git symbolic-ref --quiet --short HEAD) || fail "no branch is checked out: git switch main"
  ! git rev-parse --quiet --verify "refs/tags/$tag" >/dev/null || fail "the tag $tag exists: take the next version, or remove it if it was never pushed (git tag -d $tag)"
  notes | grep -q '^- ' || fail "CHANGELOG.md has nothing under [Unreleased]: write and commit what is new"
  tar --version 2>/dev/null | grep -q 'GNU tar' || fail "tar is not GNU tar, which makes the same archive each time: make the release on Linux"
}

# What is under [Unreleased].
notes() {
  awk '/^## \[Unreleased\]/ {on = 1; next} /^## / || /^\[Unreleased\]: / {on = 0} on' CHANGELOG.md
}

set_version() {
  sed -i -E "s#$before$semver#\1$version#g" "${files[@]}"
  sed -i -E -e "s|^## \[Unreleased\]|&\n\n## [$version] - $(date -u +%F)|" \
    -e "s|^\[Unreleased\]: (.*)/.+/.+|[Unreleased]: \1/compare/$tag...HEAD\n[$version]: \1/releases/tag/$tag|" CHANGELOG.md
}

commit() {
  local message
  message=$(printf 'Achilles %s\n\n' "$version"; notes)
  set_version
  git commit --quiet --message "Release $tag" -- "${files[@]}" CHANGELOG.md
  git tag --annotate --cleanup=whitespace --message "$message" "$tag"
}

# The time of everything made is that of the commit.
build() {
  local seconds time target
  seconds=$(git log -1 --format=%ct)
  time=$(date -u --date="@$seconds" +%Y-%m-%dT%H:%M:%SZ)
  rm -rf dist
  # Helm packs the files' own times, by which Git takes them to be changed until it looks again.
  find deploy/helm/achilles -exec touch --date="@$seconds" {} +
  git update-index --refresh
  for target in dist images sbom package; do
    make --no-print-directory "$target" VERSION="$tag" BUILD_TIME="$time" ENGINE=oci PUSH= IMAGE_DIR=dist/images IMAGE_TAG="$version"
  done
}

# In dist/ remain the files to publish, each with the version in its name.
collect() {
  local file
  for file in dist/tag-*-*; do
    archive "${file#dist/tag-}"
  done
  for file in dist/images/*.tar; do
    mv "$file" "dist/$name-image-$(basename "$file")"
  done
  for file in dist/*.cdx.json; do
    mv "$file" "dist/$name-$(basename "$file")"
  done
  rm -rf dist/images dist/SHA256SUMS
  (cd dist && sha256sum -- * >../SHA256SUMS.new && mv ../SHA256SUMS.new SHA256SUMS)
}

# archive packs the programs for one platform.
archive() {
  local platform=$1 dir=dist/$name-$1 service
  mkdir "$dir"
  for service in services/*/go.mod; do
    service=$(basename "$(dirname "$service")")
    mv "dist/$service-$platform" "$dir/$service"
  done
  cp LICENSE README.md CHANGELOG.md "$dir"
  tar --create --sort=name --format=ustar --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
    --mtime="@$(git log -1 --format=%ct)" --directory=dist "$(basename "$dir")" | gzip --no-name --best >"$dir.tar.gz"
  rm -r "$dir"
}

undo() {
  git tag --delete "$tag" >/dev/null 2>&1 || true
  git reset --quiet --keep "$start" && git checkout --quiet "$start" -- "${files[@]}" CHANGELOG.md ||
    fail "the release failed, and its commit could not be undone: git reset --hard $start removes it"
  echo "achilles: the release failed; its commit and its tag were undone" >&2
}

if [ "${1:-}" = versions ]; then
  versions
  exit
fi
tag=${1:-}
version=${tag#v}
name=achilles-$version
check
start=$(git rev-parse HEAD)
trap undo EXIT
commit
build
collect
trap - EXIT
cat <<END
Release $tag is committed and tagged on $branch; dist/ has its files. To publish it:

  git push --atomic origin $branch $tag
  make images ENGINE=oci PUSH=registry.example/blog IMAGE_DIR=bin/images
  helm push dist/$name.tgz oci://registry.example/blog/charts
  gh release create $tag --verify-tag --notes-from-tag dist/*

To undo it before that: git tag -d $tag && git reset --keep $start
END
