#!/bin/bash
# boot.sh N [HOST] [NAME]: boot N servers (networks=none), wait until they are ACTIVE, print their ids.
. "$(dirname "$0")/env.sh"
inside "$0" "$@"
[ $# -ge 1 ] || { sed -n '2s/^# //p' "$0"; exit 2; }
exec $PY - "$@" <<'E'
import sys, lab
n, host, name = int(sys.argv[1]), (sys.argv[2:] + [None])[0], (sys.argv[3:] + ['vm'])[0]
c = lab.Cloud()
before = {s['id'] for s in c.call('GET', '/servers?all_tenants=1')['servers']}
r = c.boot(name, host, n)
if r.code != 202:
    sys.exit('%s %s' % (r.code, lab.msg(r)))
def done():
    new = [s for s in c.servers(host=None)['servers'] if s['id'] not in before]
    bad = [s for s in new if s['status'] == 'ERROR']
    if bad:
        sys.exit('ERROR: %s %s' % (bad[0]['id'], bad[0].get('fault')))
    return new if len(new) == n and all(s['status'] == 'ACTIVE' for s in new) else None
for s in c.wait(done, 300):
    print(s['id'], s['name'], s['OS-EXT-SRV-ATTR:host'])
E
