#!/bin/sh
# The configuration of nova-evac.crm, with its explanations, as pcs commands: made in
# a file, checked, and pushed to the cluster as a whole. For pcs 0.11 and 0.12.
set -eu
cib=${1:-nova-evac.xml}
pcs cluster cib "$cib"

# stonith-action=off: a fenced compute host stays off until its instances have left it
pcs -f "$cib" property set stonith-enabled=true stonith-action=off stonith-timeout=60s concurrent-fencing=true load-threshold=0%

# power: one device for each machine; a controller that is fenced is rebooted
for host in ctl1 ctl2 ctl3 compute-1 compute-2 compute-3; do
    reboot=
    case $host in ctl*) reboot=pcmk_off_action=reboot;; esac
    pcs -f "$cib" stonith create "ipmi-$host" fence_ipmilan ip="ipmi-$host.example.org" username=fence \
        password_script=/etc/nova-evac/ipmi-password lanplus=1 pcmk_host_list="$host" $reboot op monitor interval=60s timeout=20s
done

# the hook: called when the power is off for sure, records the host
pcs -f "$cib" stonith create fence-nova fence_nova_evac auth_url=https://keystone.example.org:5000/v3 username=nova-evac \
    password_file=/etc/nova-evac/password tenant_name=service \
    pcmk_host_check=static-list pcmk_host_map="compute-1:compute-1;compute-2:compute-2;compute-3:compute-3" \
    op monitor interval=60s timeout=20s

# the compute hosts; no reconnect_interval
n=101
for host in compute-1 compute-2 compute-3; do
    pcs -f "$cib" resource create "$host" ocf:pacemaker:remote server="192.0.2.$n" \
        op monitor interval=3s timeout=10s meta failure-timeout=120s --force
    n=$((n + 1))
done

# Both devices of a level have to succeed, in this order.
for host in ctl1 ctl2 ctl3; do
    pcs -f "$cib" stonith level add 1 "$host" "ipmi-$host" --force
done
for host in compute-1 compute-2 compute-3; do
    pcs -f "$cib" stonith level add 1 "$host" "ipmi-$host" fence-nova --force
done

# the address of the APIs
pcs -f "$cib" resource create api-address ocf:heartbeat:IPaddr2 ip=192.0.2.200 cidr_netmask=24 op monitor interval=10s timeout=20s

# the supervisors, on all controllers; not on compute hosts, and not even probed there
pcs -f "$cib" resource create nova-evacuate ocf:openstack:nova-evacuate auth_url=https://keystone.example.org:5000/v3 \
    username=nova-evac password_file=/etc/nova-evac/password tenant_name=service \
    op start timeout=20s op stop timeout=20s op monitor interval=10s timeout=20s
pcs -f "$cib" resource clone nova-evacuate meta interleave=true
case $(pcs --version) in
0.9.* | 0.10.* | 0.11.*) set -- '#kind' eq remote ;;   # these know a rule in several arguments only
*)                       set -- '#kind eq remote' ;;   # and these will not any more
esac
for rsc in nova-evacuate-clone api-address; do
    pcs -f "$cib" constraint location "$rsc" rule resource-discovery=never score=-INFINITY "$@"
done
pcs -f "$cib" constraint order api-address then nova-evacuate-clone kind=Optional

crm_verify --xml-file "$cib" --verbose
pcs cluster cib-push "$cib"
