#!/bin/bash
# run.sh SUITE [FLAGS...]: the tests of the real cluster and the real Nova, in a Debian root
# of that suite. FLAGS are those of a test binary, as -test.run TestStorm. Where a test
# fails, the nodes' logs are in NOVA_EVAC_ROOTS/SUITE/kept/logs.
. "$(dirname "$0")/lib.sh"
suite=${1:?usage: run.sh SUITE [FLAGS...]}; shift
root=$("$LANES/root.sh" "$suite")
exec 9>"$root.lock"; flock --shared --wait 1800 9 || die "$root has been changed for half an hour"
# The binary is built outside: the root needs no Go, and its own is another one.
cd "$SOURCE" && CGO_ENABLED=0 go test -c -o "bin/e2e-$suite.test" ./test/e2e
rm -rf "$root/kept/logs"
exec "$LANES/in.sh" "$root" env -C test/e2e NOVA_EVAC_FAILED_LOGS=/kept/logs ${CI:+CI="$CI"} \
    "/src/bin/e2e-$suite.test" -test.count 1 -test.parallel 4 -test.timeout 60m -test.v "$@"
