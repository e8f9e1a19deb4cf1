# Bootsmith. `make help` lists the targets.
GO      ?= go
STATE   ?= .state
BIN     := bin
ARCHES  := amd64 arm64
INITS   := $(foreach a,$(ARCHES),builder/initramfs/bin/init-$(a))
GOBUILD := $(GO) build -trimpath -buildvcs=false
SUDO    := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# What the demo's and the product's own run needs is ca-certificates and the
# distribution's keyring; everything else reads our output back in tests.
DEMO_PACKAGES := ca-certificates debian-archive-keyring git
TEST_PACKAGES := $(DEMO_PACKAGES) qemu-system-x86 qemu-system-arm qemu-utils ovmf \
	qemu-efi-aarch64 xorriso genisoimage gdisk dosfstools mtools erofs-utils cpio \
	zstd xz-utils cryptsetup-bin fsverity skopeo umoci binutils dpkg e2fsprogs \
	kmod libc-bin openssl fdisk sbsigntool softhsm2 opensc device-tree-compiler \
	binutils-x86-64-linux-gnu binutils-aarch64-linux-gnu gcc libc6-dev

BOOTSTRAP_PACKAGES := mmdebstrap uidmap qemu-user-static
BINFMT := /proc/sys/fs/binfmt_misc

# The other programs that make bench runs are installed into a root of their own.
BENCH_PACKAGES := ca-certificates debian-archive-keyring mmdebstrap cpio zstd

.DEFAULT_GOAL := help
.PHONY: help demo build test cover fuzz boot boot-table boot-server bootstrap deps-bootstrap registries cosign3 repro sources bench bench-table bench-go lint ci clean init deps-demo deps-test deps-bench FORCE

help: ## Print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

demo: deps-demo build ## Build, publish, sign and verify twelve artifacts on loopback
	$(BIN)/bootsmith-lab demo --state $(STATE)/demo $(DEMO_FLAGS)

build: init ## Build the programs into bin/
	$(GOBUILD) -ldflags '-s -w' -o $(BIN)/ ./cmd/bootsmith ./cmd/bootsmith-lab

init: $(INITS) ## Build the initramfs' init for every architecture

builder/initramfs/bin/init-%: FORCE
	@CGO_ENABLED=0 GOOS=linux GOARCH=$* $(GOBUILD) -ldflags '-s -w -buildid=' -o $@ ./cmd/bootsmith-init

test: deps-test init ## Run the tests, foreign readers included
	$(GO) test -count=1 -timeout 20m ./...

# The packages that write or read a file format; helpers of tests are none.
FORMATS := ./families/inspect ./families/internal/... ./builder/composefs/... ./builder/fsverity ./builder/dmverity \
	./builder/initramfs ./builder/uki/... ./builder/secureboot ./builder/kernel/... ./builder/finish/hwdb \
	./builder/finish/ldcache ./builder/source/archive ./builder/source/control ./builder/source/deb ./builder/source/unxz/...
HELPERS := %/foreign %/oracle %/authenticodetest

cover: deps-test init ## See that tests cover more than 85 % of every format package
	@mkdir -p $(STATE)
	@$(GO) test -count=1 -cover $(filter-out $(HELPERS),$(shell $(GO) list $(FORMATS))) >$(STATE)/cover || { cat $(STATE)/cover; exit 1; }
	@awk -F 'coverage: ' '{ print } NF != 2 || $$2 + 0 <= 85 { print "  that is not above 85 %"; failed = 1 } END { exit failed || NR == 0 }' $(STATE)/cover

# A number of inputs and not a time: at the end of one, Go may report a deadline.
FUZZTIME ?= 2000x

fuzz: deps-test init ## Give every fuzz target new inputs: FUZZTIME (2000x) of them
	@set -e; for file in $$(grep -rl --include='*_test.go' '^func Fuzz' .); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' $$file); do \
			echo "$$file: $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x $$(dirname $$file); \
		done; \
	done

boot: deps-test init ## Boot every artifact in QEMU, and see that damaged ones don't
	rm -rf $(STATE)/boot
	BOOTSMITH_BOOT_LOGS=$(abspath $(STATE))/boot $(GO) test -count=1 -timeout 120m -tags boot -v -run '^Test(Boot|BootPersist|BootSecure|BootRPi4|BootSources|Tamper)$$' ./cmd/internal/vm

boot-table: ## Write the README's table of boots from the last make boot boot-server
	BOOTSMITH_BOOT_LOGS=$(abspath $(STATE))/boot $(GO) test -count=1 -run '^TestReadmeTable$$' ./cmd/internal/vm -update

boot-server: deps-test init ## Boot the server platform to multi-user, log in, reboot
	BOOTSMITH_BOOT_LOGS=$(abspath $(STATE))/boot $(GO) test -count=1 -timeout 180m -tags boot -v -run '^TestBootServer$$' ./cmd/internal/vm

bootstrap: deps-test deps-bootstrap init ## Bootstrap roots, foreign ones too, compare twins, boot the server from one
	$(GO) test -count=1 -timeout 120m -tags bootstrap -v -run '^Test(Reproducible|Foreign|OldRelease)$$' ./builder/source/bootstrap
	$(GO) test -count=1 -timeout 60m -tags bootstrap -v -run '^TestTwins$$' ./builder
	$(GO) test -count=1 -timeout 180m -tags boot -v -run '^TestBootBootstrapped$$' ./cmd/internal/vm

# Registries that the distribution doesn't have are built once, from their
# modules: distribution 3, and Gitea without its web pages.
REGISTRIES := $(STATE)/registries

registries: deps-test build $(REGISTRIES)/distribution $(REGISTRIES)/gitea/gitea ## Publish to registries of four makers, and delete
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/bootsmith build --file fixtures/platforms/minimal --output-dir $(REGISTRIES)/build --git-sha 0123456789abcdef0123456789abcdef01234567
	rm -rf $(REGISTRIES)/platform && cp -r fixtures/platforms/minimal $(REGISTRIES)/platform && echo changed >> $(REGISTRIES)/platform/overlay/etc/hostname
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/bootsmith build --file $(REGISTRIES)/platform --output-dir $(REGISTRIES)/changed --git-sha fedcba9876543210fedcba9876543210fedcba98
	BOOTSMITH_REGISTRIES=$(abspath $(REGISTRIES)) $(GO) test -count=1 -timeout 30m -tags registries -v -run '^Test(Registries|GiteaRefusals|OneFileChange)$$' ./publish

$(REGISTRIES)/distribution:
	@mkdir -p $(@D)
	cd "$$($(call module-dir,github.com/distribution/distribution/v3@v3.1.2))" && $(GOBUILD) -ldflags '-s -w' -o $(abspath $@) ./cmd/registry

$(REGISTRIES)/gitea/gitea:
	@rm -rf $(@D) && mkdir -p $(@D)/static
	cd "$$($(call module-dir,code.gitea.io/gitea@v1.26.0))" && cp -r options templates public $(abspath $(@D))/static && \
		$(GOBUILD) -tags 'sqlite sqlite_unlock_notify' -ldflags '-s -w -X "main.Version=1.26.0"' -o $(abspath $@) .
	@chmod -R u+w,a+rX $(@D)/static

cosign3: deps-test ## Have cosign 3 verify what is published (builds it, some minutes)
	GOBIN=$(abspath $(STATE))/cosign3 $(GO) install github.com/sigstore/cosign/v3/cmd/cosign@$(COSIGN3)
	BOOTSMITH_COSIGN3=$(abspath $(STATE))/cosign3/cosign $(GO) test -count=1 -timeout 10m -tags cosign3 -v -run '^TestCosign3$$' ./publish

# Of this, Debian has version 2 only.
COSIGN3 := v3.1.1

repro: deps-test init ## Build as other users on other hosts would and compare every byte
	$(GO) test -count=1 -timeout 40m -tags repro -v -run 'TestReproducible|TestPeakMemory|TestOnePackageIsUpdated' ./cmd/internal/e2e

sources: deps-test init ## Build from every kind of source; measure what large ones take
	$(GO) test -count=1 -timeout 30m -tags sources -v -run '^TestSources' ./cmd/internal/e2e

bench: deps-bench build ## Compare speed and memory with other programs' (as root; BENCH=server: one group)
	$(GO) test -count=1 -timeout 3h -tags bench -v -run '^TestBench$$/$(BENCH)' ./cmd/internal/bench

bench-table: ## Write the README's tables of speed from the last make bench
	$(GO) test -count=1 -run '^TestReadmeTable$$' ./cmd/internal/bench -update

bench-go: init ## Run the benchmarks of single packages
	$(GO) test -run '^$$' -bench . -benchmem ./...

lint: ## Check format, vet, staticcheck and go.mod
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo 'run gofmt -w on these files'; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags boot ./cmd/internal/vm
	$(GO) vet -tags repro,sources ./cmd/internal/e2e
	$(GO) vet -tags bench ./cmd/internal/bench
	$(GO) vet -tags bootstrap ./builder ./builder/source/bootstrap
	$(GO) vet -tags registries,cosign3 ./publish
	$(GO) mod tidy -diff
	$(GO) run honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK) -tags boot,repro,sources,bootstrap,registries,cosign3,bench ./...

STATICCHECK := v0.8.2

ci: lint test cover repro sources registries cosign3 boot boot-server bootstrap demo ## Everything that has to pass

clean: ## Delete what was built; the caches stay
	rm -rf $(BIN) build $(STATE) builder/initramfs/bin/init-*

deps-demo:
	@$(call apt-install,$(DEMO_PACKAGES))

deps-test:
	@$(call apt-install,$(TEST_PACKAGES))

deps-bench:
	@$(call apt-install,$(BENCH_PACKAGES))

# Machines whose init has set up neither get a mounted binfmt_misc and handlers
# for the architectures of others. The user is one that isn't root.
deps-bootstrap:
	@$(call apt-install,$(BOOTSTRAP_PACKAGES))
	@test -e $(BINFMT)/status || $(SUDO) mount -t binfmt_misc binfmt_misc $(BINFMT)
	@for m in x86_64 aarch64; do \
		test $$m = "$$(uname -m)" || test -e $(BINFMT)/qemu-$$m || \
			$(SUDO) sh -c "cat /usr/lib/binfmt.d/qemu-$$m.conf > $(BINFMT)/register"; \
	done
	@id bootsmith-test >/dev/null 2>&1 || $(SUDO) useradd --create-home bootsmith-test

# Prints the folder of a module's sources, and fetches them first.
module-dir = $(GO) mod download -json $(1) | sed -n 's/^.*"Dir": "\(.*\)".*$$/\1/p'

# Installs what is missing, and asks the network only then.
define apt-install
missing="$$(for p in $(1); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done)"; \
if [ -n "$$missing" ]; then \
	$(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
fi
endef
