# Achilles. "make" alone lists the targets. Works with GNU make 3.81 and later.

# An empty PORT is 8080; make token and make demo find the PORT of make run in
# its DATA.
DATA ?= var
FUZZTIME ?= 10s
PACKAGES ?= work

SERVICES := $(patsubst services/%/go.mod,%,$(sort $(wildcard services/*/go.mod)))
MODULES  := pkg $(SERVICES:%=services/%) scaffold test
DIST     := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64

# What the tests can do without, as program:Debian-package. With
# ACHILLES_TEST_REQUIRE=all, as in CI, nothing may be missing.
TEST_PROGRAMS := mariadbd:mariadb-server redis-server:redis-server chromium:chromium promtool:prometheus haproxy:haproxy \
	systemd-analyze:systemd supervisord:supervisor logrotate:logrotate

GOLANGCI_VERSION := v2.15.0
LINT             := bin/golangci-lint-$(GOLANGCI_VERSION)

# VULNDB=file:///path or https://host takes the place of https://vuln.go.dev.
GOVULNCHECK_VERSION := v1.9.0
GOVULNCHECK         := bin/govulncheck-$(GOVULNCHECK_VERSION)
VULNDB              ?= https://vuln.go.dev

# The linter of the API descriptions is of Node.js; there is none of its kind in Go.
REDOCLY_VERSION := 2.77.0
REDOCLY         := bin/redocly-$(REDOCLY_VERSION)/node_modules/.bin/redocly

# The generator of the TypeScript client, its fetch, and the compiler that checks it.
TYPESCRIPT_MODULES := openapi-typescript@7.13.0 openapi-fetch@0.17.0 typescript@5.9.3
TYPESCRIPT         := bin/typescript-7.13.0/node_modules

CYCLONEDX_VERSION := v1.10.0
CYCLONEDX         := bin/cyclonedx-gomod-$(CYCLONEDX_VERSION)

# The chart is held against both major versions of Helm.
HELM3_VERSION := v3.22.0
HELM4_VERSION := v4.3.2
HELM3         := bin/helm3-$(HELM3_VERSION)
HELM4         := bin/helm4-$(HELM4_VERSION)

# A tool that has built the components of a cluster; its API server checks the
# chart if KUBECONFIG names none.
CLUSTER ?= ../shared/cluster/cluster

# The Go toolchain is the one that go.work names; any Go since 1.21 fetches it,
# also where the environment says GOTOOLCHAIN=local.
export GOTOOLCHAIN := $(shell awk '$$1 == "toolchain" {print $$2}' go.work)

# Debian keeps mariadbd where only root's PATH looks.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin

VERSION    = $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT     = $(shell git rev-parse --verify HEAD 2>/dev/null || echo unknown)
# The same source makes the same program: its time is that of the commit.
BUILD_TIME = $(shell TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null || date -u +%Y-%m-%dT%H:%M:%SZ)
STAMP      = github.com/achilles-blog/achilles/pkg/buildinfo
LDFLAGS    = -s -w -X $(STAMP).version=$(VERSION) -X $(STAMP).commit=$(COMMIT) -X $(STAMP).buildTime=$(BUILD_TIME)
# The services speak no MessagePack, and nothing is gained by inlining Redis'
# 500 commands: 8 MB less. services/Dockerfile has the same flags.
GO_FLAGS   = -trimpath -buildvcs=false -tags=nomsgpack -gcflags='github.com/redis/go-redis/...=-l' -ldflags='$(LDFLAGS)'
GO_BUILD   = CGO_ENABLED=0 go build $(GO_FLAGS)
# All that make run needs is built with the same flags, so that a package is
# compiled once.
BUILD      = CGO_ENABLED=0 sh test/devserver/build.sh

# ENGINE=docker makes the images for this machine and loads them into Docker,
# ENGINE=oci makes them without Docker, in dist/images. PUSH=registry/prefix
# pushes them, for the machines of others too (PLATFORMS). The chart asks for
# IMAGE_TAG.
comma     := ,
ENGINE    ?= docker
PUSH      ?=
PLATFORMS ?= $(if $(PUSH)$(filter oci,$(ENGINE)),linux/amd64$(comma)linux/arm64)
IMAGE_PLATFORMS = $(subst $(comma), ,$(PLATFORMS))
IMAGE_DIR ?= dist/images
IMAGE_TAG ?= $(shell awk '/^appVersion:/ {gsub(/"/, ""); print $$2}' deploy/helm/achilles/Chart.yaml)

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: claim ## Build and run everything on http://127.0.0.1:PORT (PORT=8080), data in DATA (DATA=var); Ctrl-C stops it
	@$(MAKE) --no-print-directory build
	@exec bin/devserver run --port '$(PORT)' --data '$(DATA)' --bin bin

# A port that is taken or a directory that can't be used is reported before the
# rest is compiled.
.PHONY: claim
claim: go
	@[ -x bin/devserver ] || echo 'Checking the port and the data directory, which takes up to a minute the first time.'
	@CGO_ENABLED=0 go build -o bin/check $(GO_FLAGS) ./test/devserver/check
	@bin/check '$(PORT)' '$(DATA)'

.PHONY: demo
demo: bin-devserver ## Fill the running system with 60 tags and 1,000 articles; safe to repeat
	@exec bin/devserver demo --port '$(PORT)' --data '$(DATA)'

.PHONY: token
token: bin-devserver ## Print a token for the running system, for the header "Authorization: Bearer TOKEN" of a write
	@exec bin/devserver token --port '$(PORT)' --data '$(DATA)'

.PHONY: build
build: go ## Build the services, static and stamped, and the devserver behind make run, into bin/
	@$(BUILD) bin/ $(GO_FLAGS) $(SERVICES:%=./services/%) ./test/devserver

.PHONY: bin-devserver
bin-devserver: go
	@$(BUILD) bin/devserver $(GO_FLAGS) ./test/devserver

# A Go before 1.21 doesn't know GOTOOLCHAIN and reports its own version.
.PHONY: go
go:
	@command -v go >/dev/null || { echo 'achilles: Go is not installed: any Go since 1.21 will do, see https://go.dev/dl/' >&2; exit 1; }
	@found=$$(go version 2>&1); case "$$found" in *' $(GOTOOLCHAIN) '*) ;; \
	*) echo "achilles: $(GOTOOLCHAIN) is needed, and any Go since 1.21 fetches it; go version says: $$found" >&2; exit 1 ;; esac

# What changed since the upstream branch (since the last commit where there is
# none). Results are not cached: the go command doesn't see that a test reads a
# file of another module.
.PHONY: check
check: build $(LINT) ## Give a first signal: build, lint what changed, run the short tests
	@since=$$(git merge-base HEAD '@{upstream}' 2>/dev/null || echo HEAD); \
	changed=$$({ git diff --name-only --diff-filter=d "$$since"; git ls-files --others --exclude-standard; } | grep '\.go$$' | xargs -r -n1 dirname | sort -u); \
	code=0; for module in $(MODULES); do \
		dirs=$$(echo "$$changed" | sed -n "s|^$$module\(/.*\)*$$|.\1|p"); \
		[ -z "$$dirs" ] || (cd $$module && echo "lint $$module:" $$dirs && "$(abspath $(LINT))" run $$dirs) || code=1; done; \
	go test -p 4 -short -count=1 $(PACKAGES) || code=1; exit $$code

# SQLite is C that was translated to Go: the detector makes it ten times as slow, and finds
# nothing in it.
RACE := -race '-gcflags=modernc.org/...=-race=false -d=checkptr=0'

# Most tests wait for servers and processes: four packages at a time keep two
# processors busy.
.PHONY: test
test: go ## Run all tests, or those of PACKAGES, with the race detector where there is a C compiler
	@set -- $(RACE); left=; \
	if [ "$$(go env CGO_ENABLED)" != 1 ] || ! echo '#include <stdlib.h>' | $$(go env CC) -E - >/dev/null 2>&1; then \
		set --; left='the race detector (a C compiler; Debian: gcc libc6-dev)'; fi; \
	for need in $(TEST_PROGRAMS); do \
		command -v "$${need%:*}" >/dev/null || left="$$left$${left:+, }what needs $${need%:*} (Debian: $${need#*:})"; done; \
	go test -p 4 "$$@" -count=1 -shuffle=on -timeout=20m $(PACKAGES); code=$$?; \
	if [ -n "$$left" ]; then echo "make test left out: $$left."; else echo 'make test left nothing out.'; fi; \
	if [ -n "$$left" ] && [ "$$ACHILLES_TEST_REQUIRE" = all ] && [ $$code = 0 ]; then \
		echo 'make test: ACHILLES_TEST_REQUIRE=all allows nothing to be left out' >&2; exit 1; fi; \
	exit $$code

.PHONY: cover
cover: go ## Print the coverage of each package and of all; bin/cover.html shows the lines
	@mkdir -p bin
	@go test -count=1 -timeout=20m -coverprofile=bin/cover.out work
	@go tool cover -html=bin/cover.out -o bin/cover.html
	@go tool cover -func=bin/cover.out | awk '/^total:/ {print "total coverage: " $$NF}'

.PHONY: lint
lint: go $(LINT) ## Run golangci-lint over every module
	@code=0; for module in $(MODULES); do (cd $$module && "$(abspath $(LINT))" run ./...) || code=1; done; exit $$code

$(LINT):
	GOBIN='$(CURDIR)/bin' CGO_ENABLED=0 go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv bin/golangci-lint $@

# Each module by itself, as it is released. The first scan is quick and fails if
# there is no database; loading the packages takes minutes.
.PHONY: vulncheck
vulncheck: go $(GOVULNCHECK) ## Look for known vulnerabilities in every module; VULNDB=URL of another database than https://vuln.go.dev
	@export GOWORK=off; check='$(abspath $(GOVULNCHECK)) -db $(VULNDB)'; \
	said=$$(cd services/$(firstword $(SERVICES)) && $$check -scan module 2>&1); case "$$said" in \
	*'fetching vulnerabilities: '*|*'creating client: '*) echo "$$said" >&2; \
		echo 'achilles: the vulnerability database $(VULNDB) cannot be reached or read, so NOTHING was checked. Run make vulncheck where it can be reached, or set VULNDB=file:///path to a copy of it.' >&2; exit 1 ;; esac; \
	code=0; for module in $(MODULES); do echo "$$module:"; (cd $$module && $$check -tags nomsgpack ./...) || code=1; done; exit $$code

$(GOVULNCHECK):
	GOBIN='$(CURDIR)/bin' CGO_ENABLED=0 go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
	mv bin/govulncheck $@

.PHONY: generate
generate: build ## Bring all generated files up to date, as after a change of services/services.yaml
	@cd test && go run ./generate && go run ./chart && go run ./apidocs

.PHONY: bin-scaffold
bin-scaffold: go
	@CGO_ENABLED=0 go build -buildvcs=false -o bin/scaffold ./scaffold

# given passes on the variables of make's command line, also empty ones.
given = $(foreach name,$(1),$(if $(filter command%,$(origin $(name))),'$(name)=$($(name))'))

.PHONY: new-service
new-service: bin-scaffold ## Add a service: NAME=comment FIELDS='author:string(64) body:text state:state'; docs/new-service.md
	@exec bin/scaffold $@ $(call given,NAME RESOURCE PLURAL FIELDS FOLLOWS)

.PHONY: new-resource
new-resource: bin-scaffold ## Add a resource to a service: SERVICE=comment RESOURCE=vote FIELDS='comment_id:uint64 up:bool'
	@exec bin/scaffold $@ $(call given,SERVICE RESOURCE PLURAL FIELDS)

.PHONY: remove-service
remove-service: bin-scaffold ## Remove a service that new-service has made: NAME=comment
	@exec bin/scaffold $@ $(call given,NAME)

.PHONY: new-project
new-project: bin-scaffold ## Begin a project of one's own: MODULE=example.com/team/shop DIR=../shop; docs/your-own-project.md
	@exec bin/scaffold $@ $(call given,MODULE DIR NAME TITLE IMAGES SERVICES)

.PHONY: update
update: bin-scaffold ## Merge later versions of the project that this one was made from: FROM=directory or address, REF=tag
	@exec bin/scaffold $@ $(call given,FROM REF)

.PHONY: docs
docs: go ## Generate the API descriptions from the handlers' annotations
	@cd test && go run ./apidocs

.PHONY: chart
chart: go ## Generate the Helm chart's README, schema and copied files
	@cd test && go run ./chart

# sums prints the checksum of every file of the repository.
sums = git ls-files -z --cached --others --exclude-standard | xargs -0 cksum 2>/dev/null

.PHONY: docs-check
docs-check: go ## Fail if a generated file is stale (and bring it up to date)
	@old=$$(mktemp) && trap 'rm -f "$$old"' EXIT; $(sums) >"$$old"; \
	$(MAKE) --no-print-directory generate || exit 1; \
	$(sums) | diff "$$old" - >&2 || { echo 'Generated files were stale: commit what make generate has made of them.' >&2; exit 1; }

.PHONY: docs-lint
docs-lint: $(REDOCLY) ## Lint the API descriptions (Redocly); needs Node.js
	@"$(REDOCLY)" lint --extends=recommended --max-problems=50 $(SERVICES:%=services/%/docs/openapi.json) 2>&1 | \
		awk '{print} /^You have |Warning was generated|Error was generated/{found = 1} /validated/ {read = 1} END {exit found || !read}'

$(REDOCLY):
	@command -v npm >/dev/null || { echo 'achilles: npm is needed to lint the API descriptions (Debian: npm)' >&2; exit 1; }
	npm install --no-audit --no-fund --silent --prefix bin/redocly-$(REDOCLY_VERSION) @redocly/cli@$(REDOCLY_VERSION)

.PHONY: typescript-test
typescript-test: go $(TYPESCRIPT) ## Generate a TypeScript client from the API descriptions, and run it against the services; needs Node.js
	@ACHILLES_TYPESCRIPT='$(abspath $(TYPESCRIPT))' go test -count=1 -run TypeScript ./test/client

$(TYPESCRIPT):
	@command -v npm >/dev/null || { echo 'achilles: npm is needed to generate a TypeScript client (Debian: npm)' >&2; exit 1; }
	npm install --no-audit --no-fund --silent --prefix $(@D) $(TYPESCRIPT_MODULES)

.PHONY: chart-test
chart-test: go $(HELM3) $(HELM4) ## Test the Helm chart with Helm 3 and 4, the overlays, and both on an API server (KUBECONFIG, or CLUSTER=path)
	@left=; \
	if [ -z "$$KUBECONFIG" ] && [ ! -x '$(CLUSTER)' ]; then left='what needs an API server (set KUBECONFIG, or CLUSTER to the cluster tool)'; fi; \
	CLUSTER='$(abspath $(CLUSTER))' ACHILLES_HELM='$(abspath $(HELM4)) $(abspath $(HELM3))' \
		go test -count=1 -timeout=20m ./test/chart ./test/kustomize; code=$$?; \
	if [ -n "$$left" ]; then echo "make chart-test left out: $$left."; else echo 'make chart-test left nothing out.'; fi; \
	if [ -n "$$left" ] && [ "$$ACHILLES_TEST_REQUIRE" = all ] && [ $$code = 0 ]; then \
		echo 'make chart-test: ACHILLES_TEST_REQUIRE=all allows nothing to be left out' >&2; exit 1; fi; \
	exit $$code

# Built by go install, Helm 3 takes itself to be of Kubernetes 1.20.
HELM3_KUBERNETES := helm.sh/helm/v3/pkg/chartutil helm.sh/helm/v3/pkg/lint/rules

$(HELM3): | go
	GOBIN='$(CURDIR)/bin' CGO_ENABLED=0 go install -ldflags '-s -w $(foreach package,$(HELM3_KUBERNETES),-X $(package).k8sVersionMajor=1 -X $(package).k8sVersionMinor=37)' \
		helm.sh/helm/v3/cmd/helm@$(HELM3_VERSION)
	mv bin/helm $@

$(HELM4): | $(HELM3)
	GOBIN='$(CURDIR)/bin' CGO_ENABLED=0 go install -ldflags '-s -w' helm.sh/helm/v4/cmd/helm@$(HELM4_VERSION)
	mv bin/helm $@

.PHONY: bin-e2e
bin-e2e: go
	@CGO_ENABLED=0 go build -buildvcs=false -o bin/e2e ./test/e2e

# On the cluster of KUBECONFIG and the E2E_ variables (bin/e2e lists them), else
# on one that the cluster tool starts.
E2E = bin/e2e run $(if $(KUBECONFIG),,--local '$(abspath $(CLUSTER))')

.PHONY: e2e
e2e: bin-e2e ## Test on a Kubernetes cluster that no client notices a restart; report in bin/e2e-report
	@$(E2E) $(E2E_FLAGS)

.PHONY: soak
soak: bin-e2e ## The same for hours: 300 disturbances, 3,000,000 requests
	@$(E2E) --mode soak --disturbances 300 --requests 3000000 --crash-rounds 20 $(E2E_FLAGS)

.PHONY: fuzz
fuzz: go ## Run every fuzz target for FUZZTIME (FUZZTIME=10s)
	@go test -list '^Fuzz' work | awk '/^Fuzz/ {names = names " " $$1} /^ok/ {n = split(names, each, " "); for (i = 1; i <= n; i++) print $$2, each[i]; names = ""}' | \
	while read -r package target; do \
		echo "$$package $$target"; \
		go test -run='^$$' -fuzz="^$$target\$$" -fuzztime=$(FUZZTIME) $$package </dev/null || exit 1; done

# Of Docker Compose, or with BACKUP_OPTIONS=FILE of other servers; docs/backup.md.
TO   ?= backups/$(shell date -u +%Y-%m-%dT%H%M%SZ)
FROM ?=

.PHONY: backup
backup: ## Back up the databases and files into TO (TO=backups/TIME), while the services go on
	@sh deploy/backup/backup.sh '$(TO)'

.PHONY: restore
restore: ## Restore the backup FROM=backups/TIME; REPLACE=yes deletes what the databases have
	@sh deploy/backup/restore.sh '$(FROM)'

# Some sizes for a look at growth: make bench SIZES=1000,10000,100000,1000000.
# BENCH_FLAGS are those of test/bench/bench_test.go.
SIZES       ?= 100000
BENCH_FLAGS ?=
BENCH        = ACHILLES_TEST_REQUIRE=all go test -v -count=1 -timeout=4h ./test/bench

.PHONY: bench
bench: build ## Measure the article service and what it is compared with; SIZES=1000,100000 articles; report in bin/bench.json
	@$(BENCH) -run '^TestBench$$' -bench.out '$(CURDIR)/bin/bench.json' -bench.bin '$(CURDIR)/bin' -bench.sizes '$(SIZES)' $(BENCH_FLAGS)

.PHONY: bench-check
bench-check: go ## Fail if a request takes clearly more than test/bench/bounds.yaml allows; takes a minute
	@$(BENCH) -run '^TestSlowdown$$' -bench.check bounds.yaml

.PHONY: bench-docs
bench-docs: go ## Write docs/performance.md's tables and plots from bin/bench.json
	@go run ./test/bench/docs bin/bench.json docs

.PHONY: microbench
microbench: go ## Run the benchmarks of Go packages
	@go test -run='^$$' -bench=. -benchmem -timeout=20m work

# program builds a service as it is released, $$service for $$platform, into the
# given file. Each module is built by itself, as in services/Dockerfile.
program = (cd services/$$service && GOWORK=off GOOS=$${platform%/*} GOARCH=$${platform\#*/} $(GO_BUILD) -o "$(abspath $(1))" .)

# checksums writes the SHA256SUMS of files of a directory.
checksums = (cd '$(1)' && { if command -v sha256sum >/dev/null; then sha256sum $(2); else shasum -a 256 $(2); fi; } >SHA256SUMS)

# What dist/SHA256SUMS covers: the programs and their SBOMs.
DIST_FILES = $(SERVICES:%=%[-.]*)

.PHONY: dist
dist: go ## Cross-compile static programs for linux and darwin, amd64 and arm64, into dist/, with their SHA256SUMS
	@rm -f $(DIST_FILES:%=dist/%); built=0; for platform in $(DIST); do for service in $(SERVICES); do \
		built=$$((built + 1)); file=$$service-$${platform%/*}-$${platform#*/}; \
		echo "[$$built/$$(($(words $(DIST)) * $(words $(SERVICES))))] dist/$$file"; \
		$(call program,dist/$$file) || exit 1; done; done
	@$(call checksums,dist,$(DIST_FILES))

# The programs of all platforms are of the same modules. Without a serial number
# and the time, the same source makes the same SBOM. Go knows the module pkg by
# its directory only.
.PHONY: sbom
sbom: go $(CYCLONEDX) ## Write the SBOM of each service's program (CycloneDX) into dist/SERVICE.cdx.json
	@mkdir -p dist; built=0; platform=$(firstword $(DIST)); for service in $(SERVICES); do \
		built=$$((built + 1)); echo "[$$built/$(words $(SERVICES))] dist/$$service.cdx.json"; \
		$(call program,bin/sbom/$$service) && $(CYCLONEDX) bin -json -std -noserial -notimestamp \
			-version '$(VERSION)' -output bin/sbom/$$service.json bin/sbom/$$service && \
			sed -e 's|\.\./\.\./pkg|$(STAMP:%/buildinfo=%)|g' -e 's|(devel)|$(VERSION)|g' bin/sbom/$$service.json >dist/$$service.cdx.json || exit 1; done
	@$(call checksums,dist,$(DIST_FILES))

$(CYCLONEDX):
	GOBIN='$(CURDIR)/bin' CGO_ENABLED=0 go install -trimpath github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(CYCLONEDX_VERSION)
	mv bin/cyclonedx-gomod $@

.PHONY: images
images: images-$(ENGINE) ## Build the services' images; ENGINE=oci does without Docker; PLATFORMS=linux/amd64,linux/arm64; PUSH=registry/prefix

.PHONY: images-docker
images-docker:
	@docker buildx version >/dev/null 2>&1 || { echo 'achilles: Docker with buildx is not there; without it: make images ENGINE=oci' >&2; exit 1; }
	@mkdir -p '$(IMAGE_DIR)'; built=0; for service in $(SERVICES); do \
		name='$(or $(PUSH),achilles-blog)'/$$service:$(IMAGE_TAG); \
		built=$$((built + 1)); echo "[$$built/$(words $(SERVICES))] $$name"; \
		case '$(PUSH):$(PLATFORMS)' in :*,*) to="--output=type=oci,dest=$(IMAGE_DIR)/$$service.tar" ;; :*) to=--load ;; *) to=--push ;; esac; \
		docker buildx build --file services/Dockerfile --build-arg SERVICE=$$service --tag "$$name" $(if $(PLATFORMS),--platform '$(PLATFORMS)') "$$to" \
			--build-arg VERSION='$(VERSION)' --build-arg COMMIT='$(COMMIT)' --build-arg BUILD_TIME='$(BUILD_TIME)' . || exit 1; done
	@case '$(PUSH):$(PLATFORMS)' in :*,*) $(call checksums,$(IMAGE_DIR),*.tar) ;; esac

.PHONY: images-oci
images-oci: go
	@built=0; progress() { built=$$((built + 1)); echo "[$$built/$$(($(words $(SERVICES)) * $(words $(IMAGE_PLATFORMS) image)))] $$1"; }; \
	for service in $(SERVICES); do \
		for platform in $(IMAGE_PLATFORMS); do \
			progress "$(IMAGE_DIR)/$$platform/$$service"; $(call program,$(IMAGE_DIR)/$$platform/$$service) || exit 1; done; \
		progress "$(IMAGE_DIR)/$$service.tar"; \
		(cd test && go run ./images --dir '$(abspath $(IMAGE_DIR))' --platforms '$(PLATFORMS)' --tag '$(IMAGE_TAG)' --push '$(PUSH)' \
			--version '$(VERSION)' --commit '$(COMMIT)' --created '$(BUILD_TIME)' $$service) || exit 1; done
	@$(call checksums,$(IMAGE_DIR),*.tar)

images-%:
	@echo 'achilles: ENGINE=$* is no engine: take docker or oci' >&2; exit 1

.PHONY: package
package: $(HELM4) ## Package the Helm chart into dist/
	@'$(HELM4)' package deploy/helm/achilles --destination dist

# Without VERSION= the version is that of git describe, which is no new one.
.PHONY: release
release: go ## Commit, tag and build the release VERSION=v1.2.3, up to the push, into dist/
	@bash deploy/release.sh '$(if $(filter command,$(origin VERSION)),$(VERSION))'

.PHONY: alone
alone: go ## Build each module by itself, and find what its tests import, without the workspace
	@for module in $(MODULES); do \
		echo "$$module alone"; \
		(cd $$module && export GOWORK=off && go build ./... && go list -deps -test ./... >/dev/null) || exit 1; done

.PHONY: clean
clean: ## Remove what was built; data (var/) stays
	@rm -rf bin dist

.PHONY: ci
ci: ## Run what CI runs (installs Debian packages)
	@bash .ci/run
