#!/bin/bash
# record.sh DIR: bring a lab up and write what this Pacemaker's tools print into DIR, a new
# pkg/pacemaker/recorded/VERSION: each call of theirs that nova-evac makes, in each state of
# the cluster that it tells apart. It takes two minutes.
. "$(dirname "$0")/cluster/lib.sh"
to=$(realpath -m "${1:?usage: record.sh DIR}"); mkdir -p "$to" || exit 1
config=$(mktemp) && cat >"$config" <<'E2'
property stonith-enabled=true stonith-action=off
primitive bmc stonith:fence_lab params pcmk_host_list="ctl1 ctl2 ctl3 compute-1 compute-2"
primitive compute-1 ocf:pacemaker:remote params server=@NET@.101 op monitor interval=3s timeout=10s
primitive compute-2 ocf:pacemaker:remote params server=@NET@.102 port=3121 op monitor interval=3s timeout=10s
primitive nova-evacuate ocf:openstack:nova-evacuate params auth_url=@AUTH_URL@ username=admin password=secret tenant_name=admin records=/var/tmp/records op monitor interval=10s timeout=20s
clone nova-evacuate-clone nova-evacuate meta interleave=true
location nova-evacuate-on-controllers nova-evacuate-clone rule -inf: #kind eq remote
E2
trap '"$LABDIR/down.sh"; rm -f "$config"' EXIT
trap 'exit 130' INT TERM HUP
at() { "$LABDIR/exec.sh" "$@"; }
# record FILE NODE COMMAND...; its exit code and its complaint go to the list of all
record() {
    local file=$1 rc=0; shift
    at "$@" >"$to/$file" 2>"$to/complaint" || rc=$?
    printf '%s\t%s\t%s\t%s\n' "$file" "$rc" "${*:2}" "$(head -n 1 "$to/complaint")" >>"$to/calls.txt"
    rm -f "$to/complaint"; [ -s "$to/$file" ] || rm -f "$to/$file"
}
view=(crm_mon --one-shot --output-as=xml --inactive)
# until_view NODE FILE PATTERN [SECONDS]: ask for the view again and again until a line of it matches
until_view() {
    at "$1" timeout "${4:-60}" bash -c 'until "${@:2}" >/root/view 2>/dev/null && grep -q "$1" /root/view; do :; done; cat /root/view' \
        bash "$3" "${view[@]}" >"$to/$2" || die "$2: no $3 in ${4:-60} s"
    printf '%s\t0\t%s\t\n' "$2" "${view[*]}" >>"$to/calls.txt"
}
bmc() { at ctl1 bash -c "exec 3<>/dev/tcp/bmc/$BMC_PORT; echo '$1' >&3; read -r -t 10 a <&3; [ \"\$a\" = OK ]"; }
constraint() { local id=nova-evac-off-$1; echo "<rsc_location id=\"$id\" rsc=\"$1\"><rule id=\"$id-rule\" score=\"-INFINITY\"><expression id=\"$id-everywhere\" attribute=\"#uname\" operation=\"defined\"/></rule></rsc_location>"; }
apart=(cibadmin --query --xpath "//rsc_location[starts-with(@id,'nova-evac-off-')]")
set="//cluster_property_set[@id='nova-evac']"
host() { echo "<cluster_property_set id=\"nova-evac\"><nvpair id=\"nova-evac-host-$1\" name=\"host-$1\" value=\"$2\"/></cluster_property_set>"; }

"$LABDIR/up.sh" --remotes 2 --config "$config" >&2 || exit 1
: >"$to/calls.txt"
at ctl1 pacemakerd --version | sed -n '1s/^Pacemaker //p' >"$to/version.txt"

record name.txt ctl1 crm_node --name
record name-of-remote.txt compute-1 crm_node --name
until_view ctl1 healthy.xml 'name="compute-2" .*online="true"'
record history-none.xml ctl1 stonith_admin --history '*' --verbose --output-as=xml
record remotes.xml ctl1 cibadmin --query --xpath "//primitive[@class='ocf' and @provider='pacemaker' and @type='remote']"
record resource.xml ctl1 cibadmin --query --xpath "//primitive[@type='nova-evacuate' or @type='NovaEvacuate']"

record leases-none.txt ctl1 attrd_updater --name nova-evac-gate-holds --all --query
record lease-set.txt compute-1 attrd_updater --name nova-evac-gate-holds --update 1795571640 --private --delay 0
record lease-set.txt compute-2 attrd_updater --name nova-evac-gate-holds --update 1795571643 --private --delay 0
both() { [ "$(at ctl1 attrd_updater --name nova-evac-gate-holds --all --query | grep -c 'value="1')" = 2 ]; }
wait_for 20 both || die "the leases do not arrive"
record leases.txt ctl1 attrd_updater --name nova-evac-gate-holds --all --query
record lease-deleted.txt compute-1 attrd_updater --name nova-evac-gate-holds --delete

record apart-none.xml ctl1 "${apart[@]}"
record apart-made.txt ctl1 cibadmin --create --scope constraints --xml-text "$(constraint compute-1)"
record apart.xml ctl1 "${apart[@]}"
record apart-exists.txt ctl1 cibadmin --create --scope constraints --xml-text "$(constraint compute-1)"
record apart-made.txt ctl1 cibadmin --create --scope constraints --xml-text "$(constraint compute-2)"
record aparts.xml ctl1 "${apart[@]}"
for n in compute-1 compute-2; do record apart-deleted.txt ctl1 cibadmin --delete --xml-text "<rsc_location id=\"nova-evac-off-$n\"/>"; done
record apart-deleted-again.txt ctl1 cibadmin --delete --xml-text '<rsc_location id="nova-evac-off-compute-1"/>'

record records-none.xml ctl1 cibadmin --query --xpath "$set"
record record-first.txt ctl1 cibadmin --modify --xpath "${set%]} and not(nvpair[@id='nova-evac-host-compute-1'])]" --xml-text "$(host compute-1 1)"
record record-made.txt ctl1 cibadmin --create --scope crm_config --xml-text "$(host compute-1 1)"
record record-exists.txt ctl1 cibadmin --create --scope crm_config --xml-text "$(host compute-2 1)"
record record-second.txt ctl1 cibadmin --modify --xpath "${set%]} and not(nvpair[@id='nova-evac-host-compute-2'])]" --xml-text "$(host compute-2 "it&apos;s &quot;a&quot; &lt;b&gt; &amp; 100%")"
record record-again.txt ctl1 cibadmin --modify --xpath "${set%]} and not(nvpair[@id='nova-evac-host-compute-2'])]" --xml-text "$(host compute-2 2)"
record record-swapped.txt ctl1 cibadmin --modify --xpath "//nvpair[@id='nova-evac-host-compute-1' and @value='1']" --xml-text '<nvpair id="nova-evac-host-compute-1" value="2"/>'
record record-stale.txt ctl1 cibadmin --modify --xpath "//nvpair[@id='nova-evac-host-compute-1' and @value='1']" --xml-text '<nvpair id="nova-evac-host-compute-1" value="3"/>'
record records.xml ctl2 cibadmin --query --xpath "$set"
record record-deleted-stale.txt ctl1 cibadmin --delete --xpath "//nvpair[@id='nova-evac-host-compute-1' and @value='1']"
record record-deleted.txt ctl1 cibadmin --delete --xpath "//nvpair[@id='nova-evac-host-compute-1' and @value='2']"
record record-gone.xml ctl1 cibadmin --query --xpath "//nvpair[@id='nova-evac-host-compute-1']"
record records-deleted.txt ctl1 cibadmin --delete --xpath "$set"

bmc "fail ctl3 600"
"$LABDIR/kill-node.sh" ctl3 power || exit 1
until_view ctl1 unclean.xml 'name="ctl3" .*unclean="true"'
bmc "fail ctl3 0"
until_view ctl1 fenced.xml 'name="ctl3" .*online="false".*unclean="false"'
"$LABDIR/power.sh" on ctl3 || exit 1
until_view ctl1 joined.xml 'name="ctl3" .*online="true".*pending="false"'
record fence.txt ctl1 stonith_admin --fence compute-1
record unfence.txt ctl1 stonith_admin --unfence compute-1
record fence-unknown.txt ctl1 timeout 60 stonith_admin --fence nobody
record history.xml ctl1 stonith_admin --history '*' --verbose --output-as=xml
# A node joins in less time than a look takes, now and then.
for ((try=1;;try++)); do
    "$LABDIR/kill-node.sh" ctl3 power && until_view ctl1 fenced.xml 'name="ctl3" .*online="false".*unclean="false"' || exit 1
    "$LABDIR/power.sh" on ctl3 & power=$!
    (until_view ctl1 joining.xml 'name="ctl3" .*pending="true"' 15) && wait $power && break
    [ $try -lt 8 ] || exit 1
done
until_view ctl1 joined.xml 'name="ctl3" .*online="true".*pending="false"'
for n in ctl2 ctl3; do bmc "fail $n 600"; "$LABDIR/kill-node.sh" $n unplug || exit 1; done
until_view ctl1 noquorum.xml '<current_dc .*with_quorum="false"'
at ctl1 node-svc stop pacemaker
record down.xml ctl1 timeout 60 "${view[@]}"
record down-records.xml ctl1 timeout 60 cibadmin --query --xpath "$set"
echo "recorded in $to"
