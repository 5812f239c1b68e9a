# Targets are described in README.md. Tools are pinned here, outside go.mod.
GO          ?= go
GOFUMPT      = $(GO) run mvdan.cc/gofumpt@v0.12.0
STATICCHECK  = $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOLANGCI     = $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
CYCLONEDX    = $(GO) run github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.9.0
PLATFORMS    = linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
FUZZTIME    ?= 10s
N           ?= 10000
BIN          = etcd-autopsy

.PHONY: build dist test race lint lint-all demo bench bench-fleet recover-e2e microbench fuzz lab torture torn golden man clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o $(BIN) ./cmd/etcd-autopsy

# What a release holds. The list of modules is a CycloneDX document.
dist: man
	@for p in $(PLATFORMS); do \
		os=$${p%/*}; arch=$${p#*/}; ext=; [ $$os = windows ] && ext=.exe; \
		CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -trimpath -ldflags '-s -w' -o dist/$(BIN)-$$os-$$arch$$ext ./cmd/etcd-autopsy && \
		wc -c dist/$(BIN)-$$os-$$arch$$ext || exit 1; \
	done
	@mkdir -p dist/completions
	@for sh in bash zsh fish powershell; do $(GO) run ./cmd/etcd-autopsy completion $$sh > dist/completions/$(BIN).$$sh || exit 1; done
	$(CYCLONEDX) app -licenses -json -main cmd/etcd-autopsy -output dist/$(BIN).cdx.json .
	cd dist && find . -type f ! -name SHA256SUMS | sort | xargs sha256sum > SHA256SUMS

test:
	$(GO) test ./...

race:
	$(GO) test -race -short ./...

lint:
	@out=$$($(GOFUMPT) -l -extra=group_params,clothe_returns cmd diff inspect report) || exit 1; \
	if [ -n "$$out" ]; then echo "not formatted (gofumpt -extra):"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(STATICCHECK) -checks all ./...

lint-all: lint
	$(GOLANGCI) run ./...

demo: build
	@echo '$$ ./$(BIN) diff testdata/lease-revoke-auth'
	@./$(BIN) diff testdata/lease-revoke-auth; status=$$?; \
	echo; echo "exit status $$status (1: diverged)"; test $$status -eq 1

# Whole processes beside a walk over all rows and the tools of others, on members of MIB MiB each, below BENCH (12 GiB of disk for 1024).
MIB         ?= 1024
BENCH       ?= /tmp/etcd-autopsy-bench
SETS         = $(BENCH)/$(MIB)
bench: build
	@test -d $(SETS)/big || $(GO) run ./testdata/gen big -mib $(MIB) -o $(SETS)/big
	@test -d $(SETS)/compacted || $(GO) run ./testdata/gen big -mib $(MIB) -hot 3000 -compact 2000 -o $(SETS)/compacted
	@test -d $(SETS)/log || $(GO) run ./testdata/gen big -mib $$(($(MIB) * 2 / 5)) -log 300000 -o $(SETS)/log
	@test -d $(SETS)/five || $(GO) run ./testdata/gen big -mib $$(($(MIB) / 4)) -members 5 -o $(SETS)/five
	@cd testdata/bench && $(GO) build -o $(BENCH)/bin/ ./walk go.etcd.io/etcd/etcdutl/v3 go.etcd.io/bbolt/cmd/bbolt go.etcd.io/etcd/v3/tools/etcd-dump-db
	@cd testdata/bench && $(GO) run . -autopsy $(CURDIR)/$(BIN) -tools $(BENCH)/bin -members $(SETS)

# One process over MEMBERS members of 1 MiB, and their tables asked with DuckDB, which needs cgo.
MEMBERS     ?= 2000
bench-fleet: build
	@test -d $(BENCH)/fleet-$(MEMBERS) || $(GO) run ./testdata/gen fleet -n $(MEMBERS) -o $(BENCH)/fleet-$(MEMBERS)
	@cd testdata/bench/fleet && CGO_ENABLED=1 $(GO) build -o $(BENCH)/bin/fleet .
	@$(BENCH)/bin/fleet -autopsy $(CURDIR)/$(BIN) -members $(BENCH)/fleet-$(MEMBERS) -tables $(BENCH)/fleet-$(MEMBERS)-tables -readme $(CURDIR)/README.md

# What recover writes is restored by etcdutl and run by a server, at AT entries at random of each member and at every EVERY-th of a healthy one.
AT          ?= 20
EVERY       ?= 50
recover-e2e: build
	$(GO) test ./diff/recovery -timeout 0 -recovery.n $(AT)
	@cd testdata/bench && if $(GO) build -o $(BENCH)/bin/ go.etcd.io/etcd/etcdutl/v3 go.etcd.io/etcd/server/v3; then \
		$(GO) run ./recover -autopsy $(CURDIR)/$(BIN) -tools $(BENCH)/bin -testdata $(CURDIR)/testdata -n $(AT) -every $(EVERY); \
	else echo "skipped: etcdutl and the etcd server cannot be built here, which takes their modules"; fi

microbench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

fuzz:
	@for pkg in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$f"; \
			$(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$pkg || exit 1; \
		done; \
	done

lab:
	$(GO) test ./diff/lab -run 'TestLab|TestFaults|TestPurged|TestPartedBefore' -timeout 0 -v -lab.n=$(N)

torture:
	$(GO) test ./cmd/etcd-autopsy -run '^TestTorture$$' -timeout 0 -v -torture.n=$(N) -torture.measure

torn:
	$(GO) test ./diff/lab -run TestTorn -timeout 0 -v -torn.n=$(N)

golden:
	$(GO) test ./cmd/etcd-autopsy -run 'Golden|Scripts|Lists|Reports' -update
	$(GO) test ./report -run TestPages -update

man:
	$(GO) test ./cmd/etcd-autopsy -run '^TestMan$$' -count 1 -man $(CURDIR)/dist/man

clean:
	rm -rf $(BIN) dist
