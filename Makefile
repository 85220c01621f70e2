# Muster: build, prove, try. "make help" lists the targets.

GO_MIN      := 1.26
GO_INSTALL  := 1.26.8
VERSION     ?= $(shell $(AS_USER) git describe --tags --dirty 2>/dev/null || echo 0.1.0-g$$(git rev-parse --short HEAD 2>/dev/null || echo unknown))
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 20s
OUT         := out
LINUX       := amd64 arm64 arm 386 riscv64
GOARM       := 6# runs on the first Raspberry Pi too
INSTALL     := internal/nettest/install.sh
PATIENT     := internal/nettest/patient.sh
PREFIX      ?= /usr/local

export GOTOOLCHAIN := local
# Nothing that only looks at the checkout writes in it.
export GIT_OPTIONAL_LOCKS := 0

# sudo's PATH rarely has Go, so it is searched for; and whatever is started from here
# must find the same one.
ifeq ($(origin GO),undefined)
GO := $(shell internal/nettest/go.sh $(GO_MIN) $(GO_INSTALL) 2>/dev/null || echo go)
else
GO_GIVEN := $(GO)
endif
ifneq ($(shell { command -v go; } 2>/dev/null),$(GO))
ifneq ($(findstring /,$(GO)),)
export PATH := $(patsubst %/,%,$(dir $(GO))):$(PATH)
endif
endif

PROGRESS := $(GO) run ./test/progress

# Under sudo the checkout is still its owner's, and so is what is built in it and the
# compiler's cache.
AS_USER := $(shell if [ "$$(id -u)" = 0 ] && [ "$${SUDO_UID:-0}" != 0 ] && [ "$$(stat -c %u .)" = "$$SUDO_UID" ]; then \
	echo "setpriv --reuid=$$SUDO_UID --regid=$$SUDO_GID --init-groups env HOME=$$(getent passwd "$$SUDO_UID" | cut -d: -f6)"; fi)

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' Makefile

.PHONY: go
go: # says what to do where Go is missing or old
	@internal/nettest/go.sh $(GO_MIN) $(GO_INSTALL) $(GO_GIVEN) >/dev/null

.PHONY: root
root:
	@[ "$$(id -u)" = 0 ] || { echo "this needs root, for network namespaces: sudo make $(MAKECMDGOALS)"; exit 1; }

.PHONY: build
build: go ## build out/muster, static
	@if [ -n "$(AS_USER)" ] && [ -e $(OUT) ]; then chown -Rh $(SUDO_UID):$(SUDO_GID) $(OUT); fi
	@$(AS_USER) mkdir -p $(OUT)
	CGO_ENABLED=0 $(PATIENT) "compiling muster" $(AS_USER) $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $(OUT)/muster ./cmd/muster

.PHONY: demo
demo: root go ## boot a machine that nobody has seen, here and now (root)
	@$(INSTALL) demo
	@$(MAKE) --no-print-directory build
	@$(PATIENT) "compiling the demo" $(AS_USER) $(GO) build -o $(OUT)/demo ./internal/nettest/demo
	@$(OUT)/demo -muster $(OUT)/muster

.PHONY: lint
lint: go ## vet, staticcheck, gofmt, shell syntax
	@gofmt=$$($(GO) env GOROOT)/bin/gofmt; files=$$("$$gofmt" -l .) || exit 1; \
	 [ -z "$$files" ] || { echo "gofmt these:"; echo "$$files"; exit 1; }
	$(PATIENT) "go vet" $(GO) vet ./...
	$(PATIENT) staticcheck $(GO) run $(STATICCHECK) ./...
	@files=$$(git ls-files '*.sh' .ci/run) && [ -n "$$files" ] || { echo "git lists no scripts to check"; exit 1; }; \
	 for f in $$files; do bash -n $$f || exit 1; done

.PHONY: cross
cross: go ## the commands build for macOS, Windows and every Linux that has a package; 32-bit ones are vetted with their tests
	@for os in darwin windows; do GOOS=$$os CGO_ENABLED=0 $(PATIENT) "compiling for $$os" $(GO) build -o /dev/null ./cmd/muster || exit 1; done
	@for arch in $(LINUX); do GOOS=linux GOARCH=$$arch GOARM=$(GOARM) CGO_ENABLED=0 $(PATIENT) "compiling for $$arch" $(GO) build -o /dev/null ./cmd/muster || exit 1; done
	@for arch in 386 arm; do GOOS=linux GOARCH=$$arch GOARM=$(GOARM) CGO_ENABLED=0 $(PATIENT) "go vet for $$arch" $(GO) vet ./... || exit 1; done

# A program with the race detector sleeps a second as it ends, in each package and
# each process that a test starts.
.PHONY: check
check: lint ## lint, then every quick test with the race detector
	GORACE=atexit_sleep_ms=50 CGO_ENABLED=1 $(PROGRESS) -race -short -vet=off ./...

# go test skips a test whose tool is missing; here it fails.
test long kills: export MUSTER_INSTALLED := true

.PHONY: test
test: root go ## everything: check, what the quick tests leave out, real peers, whole boots (root, about 25 minutes)
	@$(INSTALL) test
	$(GO) mod verify
	@$(MAKE) --no-print-directory check cross
	$(PROGRESS) -count=1 -timeout 20m $$($(GO) list ./... | grep -v '/test$$')
	$(PROGRESS) -count=1 -timeout 40m ./test

.PHONY: test-all
test-all: test long kills fuzz fresh ## test, then the longest boots, fifty kills under load, every fuzz target for FUZZTIME, and fresh (hours)

.PHONY: fresh
fresh: root go ## demo, install and test on Debian 12 and 13 from nothing (root, more than an hour; FRESH_RELEASES, FRESH_COMMANDS)
	@GO=$(GO) internal/nettest/fresh.sh

.PHONY: long
long: root go ## the whole boots that test leaves out: a real installer, HTTPS on arm64, HTTP and arm64 by IPv6, both families, an installation killed at each step, ten power-ons after one; U-Boot on riscv64, by PXE and as UEFI; routers; by name beside another server; an image to a disk, also on arm64, a disk wiped, a system mended, a live system by dracut, and a Debian made of a mirror; other DHCP servers beside, twenty starts each; 2,400 wrong bits in a store (root)
	MUSTER_LONG=1 $(PROGRESS) -count=1 -timeout 150m -run '^(TestDebianInstaller|TestHTTPS|TestInstall|TestInstallKilled|TestBootSix|TestBootSixRelayed|TestBootDual|TestBesideServers|TestUBoot|TestRouter|TestName|TestWipe|TestDiskImage|TestDiskImageARM64|TestRescue|TestFix|TestScripts|TestCIDATA|TestDracut|TestMirrorDebian)$$' ./test
	MUSTER_LONG=1 $(PROGRESS) -count=1 -timeout 30m -run '^TestFlippedBit$$' ./store/bolt

.PHONY: kills
kills: root go ## kill -9 under load, fifty times by DHCPv4 and twenty by DHCPv6 (root)
	MUSTER_LONG=1 $(PROGRESS) -count=1 -timeout 10m -run '^Test(Six)?KilledUnderLoad$$' ./test

# Go takes the end of the time for a failure now and then. What was found is a seed by
# then, and fails again.
.PHONY: fuzz
fuzz: go ## run every fuzz target for FUZZTIME (20s)
	@set -e; for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	    echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$p || \
	    $(GO) test -run "^$$f$$" $$p; \
	  done; done

.PHONY: mutate
mutate: go ## put 200 small faults a package into a copy and list what no quick test notices (hours)
	$(GO) run ./internal/mutate $(MUTATE)

.PHONY: golden
golden: go ## rewrite the golden files; review the diff
	MUSTER_GOLDEN=write $(GO) test ./boot ./dhcpd ./syslogd ./templates ./tftpd ./internal/appliance

.PHONY: bench
bench: root go ## side by side with Kea, dnsmasq, tftpd-hpa, atftpd, nginx (root)
	@$(INSTALL) bench
	$(GO) run ./bench

.PHONY: deb
deb: build ## build a Debian package in out/
	packaging/build-deb.sh $(VERSION) $(OUT)/muster $(OUT)

# A configuration that is there stays. The service is not started: it answers nobody
# until it is configured.
.PHONY: install
install: build ## build, and install in PREFIX (/usr/local) with the service's unit (root)
	install -D -m 755 $(OUT)/muster $(DESTDIR)$(PREFIX)/bin/muster
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|/usr/bin/muster|$(PREFIX)/bin/muster|' packaging/muster.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/muster.service
	install -D -m 644 packaging/sysusers.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/muster.conf
	[ -e $(DESTDIR)/etc/muster/muster.toml ] || install -D -m 644 packaging/muster.toml $(DESTDIR)/etc/muster/muster.toml
	@[ -n "$(DESTDIR)" ] || ! command -v systemd-sysusers >/dev/null || systemd-sysusers $(PREFIX)/lib/sysusers.d/muster.conf
	@[ -n "$(DESTDIR)" ] || [ ! -d /run/systemd/system ] || systemctl daemon-reload

.PHONY: debs
debs: build ## build the Debian package of every architecture in out/debs/
	@set -e; for arch in $(LINUX); do \
	  case $$arch in arm) deb=armhf ;; 386) deb=i386 ;; *) deb=$$arch ;; esac; \
	  GOOS=linux GOARCH=$$arch GOARM=$(GOARM) CGO_ENABLED=0 $(AS_USER) $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $(OUT)/muster-$$deb ./cmd/muster; \
	  DEB_ARCH=$$deb COMPLETER=$(OUT)/muster packaging/build-deb.sh $(VERSION) $(OUT)/muster-$$deb $(OUT)/debs; \
	done

.PHONY: clean
clean: ## remove what was built
	rm -rf $(OUT)
