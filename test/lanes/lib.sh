# lib.sh - shared by the scripts of the lanes (sourced).
set -euo pipefail
LANES=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SOURCE=$(cd "$LANES/../.." && pwd)
ROOTS=${NOVA_EVAC_ROOTS:-/var/cache/nova-evac-lanes}
die() { echo "$(basename "$0"): $*" >&2; exit 1; }

# bound COMMAND...: run it in a mount and a pid namespace of its own, which end when this
# process does, in whatever way: its mounts, its processes and their namespaces go with them.
child=
bound() {
    setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child=KILL "$@" <&0 &
    child=$!
    local rc=0; wait "$child" || rc=$?
    child=
    return $rc
}
trap '[ -z "$child" ] || kill -KILL "$child" 2>/dev/null || :' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
