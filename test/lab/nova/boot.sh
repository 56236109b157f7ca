#!/bin/bash
# boot.sh N [HOST] [NAME] | --group HOST...: boot N servers (networks=none), or one on each
# HOST, all of one anti-affinity group; wait until they are ACTIVE, print their ids.
. "$(dirname "$0")/env.sh"
inside "$0" "$@"
[ $# -ge 1 ] || { sed -n '2,3s/^# //p' "$0"; exit 2; }
exec $PY - "$@" <<'P'
import sys, lab
c = lab.Cloud()
before = {s['id'] for s in c.call('GET', '/servers?all_tenants=1')['servers']}

def boot(*args, **kw):
    r = c.boot(*args, **kw)
    if r.code != 202:
        sys.exit('%s %s' % (r.code, lab.msg(r)))
    return r

if sys.argv[1] == '--group':
    n = len(sys.argv) - 2
    group = c.call('POST', '/os-server-groups', {'server_group': {'name': 'apart', 'policy': 'anti-affinity'}})
    for host in sys.argv[2:]:
        boot('apart', host, hints={'group': group['server_group']['id']})
else:
    n, host, name = int(sys.argv[1]), (sys.argv[2:] + [None])[0], (sys.argv[3:] + ['vm'])[0]
    boot(name, host, n)

def done():
    new = [s for s in c.servers(host=None)['servers'] if s['id'] not in before]
    bad = [s for s in new if s['status'] == 'ERROR']
    if bad:
        sys.exit('ERROR: %s %s' % (bad[0]['id'], bad[0].get('fault')))
    return new if len(new) == n and all(s['status'] == 'ACTIVE' for s in new) else None

new = c.wait(done, 300)
if sys.argv[1] == '--group':
    new.sort(key=lambda s: sys.argv.index(s['OS-EXT-SRV-ATTR:host']))
for s in new:
    print(s['id'], s['name'], s['OS-EXT-SRV-ATTR:host'])
P
