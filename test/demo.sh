#!/usr/bin/env bash
# demo.sh: a compute host dies, two supervisors, the working one is killed half-way,
# the other finishes. Everything is embedded: a simulated cloud, records in a file.
set -u
cd "$(dirname "$0")/.."
n=${1:-30}
dir=$(mktemp -d) pids=()
cleanup() {
    for p in "${pids[@]}"; do kill -9 "$p" 2>/dev/null; done
    wait 2>/dev/null
    rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
wait_for() {  # wait_for SECONDS WHAT COMMAND...
    local end=$((SECONDS+$1)) what=$2; shift 2
    until "$@"; do [ $SECONDS -lt $end ] || { echo "demo: waited too long for $what" >&2; exit 1; }; sleep 0.1; done
}

say "A simulated cloud with 4 compute hosts and $n instances on compute-1"
bin/novasim --listen 127.0.0.1:0 --hosts compute-1,compute-2,compute-3,compute-4 --instances "compute-1=$n" \
    --rebuild-time 4s --ready-file "$dir/url" >"$dir/novasim.log" 2>&1 & pids+=($!)
wait_for 10 "the simulated cloud" test -s "$dir/url"
url=$(cat "$dir/url")
export OS_AUTH_URL=$url/v3 OS_USERNAME=admin OS_PASSWORD=secret OS_PROJECT_NAME=admin \
       OS_USER_DOMAIN_NAME=Default OS_PROJECT_DOMAIN_NAME=Default
unset OS_CLOUD
# http METHOD PATH [BODY]: the answer's body; fails unless it is 200. Needs nothing but bash.
http() {
    local addr=${url#http://} head status
    exec 3<>"/dev/tcp/${addr%:*}/${addr#*:}" || return 1
    printf '%s /control/%s HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s' "$1" "$2" "${#3}" "$3" >&3
    IFS= read -r status <&3
    while IFS= read -r head <&3 && [ "$head" != $'\r' ]; do :; done
    cat <&3; exec 3>&-
    case $status in *' 200 '*) ;; *) return 1;; esac
}

say "Two supervisors, as two controllers would run them"
declare -A supervisor
for node in ctl1 ctl2; do
    bin/nova-evac supervise --records "$dir/records" --node $node --state-dir "$dir/$node" \
        --max-in-flight 6 --api-timeout 10 > >(sed -u "s/^/  $node  /") 2>&1 & supervisor[$node]=$!; pids+=($!); disown
    wait_for 10 "the supervisor of $node" test -S "$dir/$node/supervisor.sock"
done

say "compute-1 loses its power; the fence hook records it"
http POST hosts/compute-1 '{"power":"off"}' >/dev/null
printf 'action=off\nplug=compute-1\nrecords=%s\nauth_url=%s\nusername=admin\npassword=secret\ntenant_name=admin\n' "$dir/records" "$OS_AUTH_URL" |
    bin/nova-evac fence || { echo "demo: the hook failed" >&2; exit 1; }
cat "$dir/records"

wait_for 30 "a third of the instances" http GET "wait?evacuated_at_least=$((n/3))&timeout=30s" "" >/dev/null
owner=$(sed -n 's/.* owner=\([^ ]*\).*/\1/p' "$dir/records")
say "A third is done: the supervisor that works, of $owner, is killed with -9"
bin/nova-evac status --records "$dir/records"
kill -9 "${supervisor[$owner]}"
other=ctl1; [ "$owner" = ctl1 ] && other=ctl2

say "nova-evac host follows to the end"
timeout 50 bin/nova-evac host --records "$dir/records" --state-dir "$dir/$other" compute-1 || { echo "demo: the evacuation did not end well" >&2; exit 1; }
bin/nova-evac status --records "$dir/records"

say "What the simulated cloud says: was an instance lost, or evacuated twice?"
check=$(http GET check "") || exit 1
echo "$check"
case $check in *'"breaches":[]'*) ;; *) echo "demo: FAILED, the cloud was harmed" >&2; exit 1;; esac
case $check in *"\"evacuated\":$n"*) ;; *) echo "demo: FAILED, not all $n instances were evacuated" >&2; exit 1;; esac
say "All $n instances run elsewhere, each was evacuated once."
