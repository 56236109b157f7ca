#!/usr/bin/env bash
# run.sh: everything that `make test` runs. As root it installs what it needs and
# leaves nothing out; otherwise it says what it left out. With CI=true nothing may be.
set -u
cd "$(dirname "$0")/.."
passed=0 failed=0 skipped=0 left=()
part() {  # part NAME COMMAND...
    local name=$1 t=$SECONDS; shift
    echo "== $name"
    if "$@"; then passed=$((passed+1)); echo "== $name: passed in $((SECONDS-t)) s"
    else failed=$((failed+1)); echo "== $name: FAILED after $((SECONDS-t)) s"; fi
}
leave() { skipped=$((skipped+1)); left+=("$1"); [ "${CI:-}" != true ] || failed=$((failed+1)); }

formatted() { local f; f=$(gofmt -l .); [ -z "$f" ] || { echo "gofmt: $f"; return 1; }; }
tidy() { go mod tidy -diff; }
static() { readelf -d bin/nova-evac | grep -q "no dynamic section"; }

if [ "$(id -u)" = 0 ]; then part "install what the tests need" test/lab/install.sh; fi
part "gofmt" formatted
part "go.mod is tidy" tidy
part "go vet" go vet ./...
part "staticcheck" go tool staticcheck ./...
if command -v readelf >/dev/null; then part "one static binary" static
else leave "whether the binary is static: there is no readelf"; fi
# The race detector is the one thing that needs cgo and a C compiler. Each test has one CPU:
# with two, the detector itself (Go 1.26.8, "CHECK failed: tsan_rtl.cpp:346") ends a third of
# the runs of ./pkg/supervisor, also where nothing of ours is wrong.
if command -v gcc >/dev/null; then
    part "unit and simulation, with the race detector" env CGO_ENABLED=1 go test -race -exec "env GOMAXPROCS=1" \
        ./pkg/... ./cmd/... ./ocf ./test/chaos ./test/conformance
else
    leave "the race detector: there is no gcc"
    part "unit and simulation" go test ./pkg/... ./cmd/... ./ocf ./test/chaos ./test/conformance
fi
part "demo" make --no-print-directory demo
if [ "$(id -u)" = 0 ]; then
    # In parallel is one lab of each cloud: a test that waits for its turn counts, too.
    part "the real cluster and the real Nova" go test -count=1 -parallel 4 -timeout 40m -v ./test/e2e
else
    leave "the real cluster and the real Nova: they need root"
fi

for l in "${left[@]+"${left[@]}"}"; do echo "left out: $l"; done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
