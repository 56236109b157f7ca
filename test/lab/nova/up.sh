#!/bin/bash
# up.sh [--reseed]: a real Nova on fake hypervisors, in the network namespace of the
# lab's cloud. The first run bootstraps (database schemas, keystone, cells, catalogue,
# flavors) and keeps the result in SEED; later runs copy it.
. "$(dirname "$0")/env.sh"
inside "$0" "$@"
[ "${1:-}" != --reseed ] || rm -rf "$SEED"
T0=${EPOCHREALTIME/./}
say() { local d=$(( ${EPOCHREALTIME/./} - T0 )); printf "nova: %4d.%ds %s\n" $((d/1000000)) $((d/100000%10)) "$*"; }
die() { say "FAILED: $*" >&2; exit 1; }
if [ -n "$(ls "$RUN/pid" 2>/dev/null)" ]; then echo "nova/up.sh: already up" >&2; exit 1; fi
rm -rf "$RUN"; mkdir -p "$RUN"/{log,pid,etc,state,lock,rabbit}
SOCK=$RUN/mysql.sock
FRESH=1; [ -d "$SEED/mysql" ] && FRESH=0

# ---- configuration -------------------------------------------------------------------------
# the cell's database has an account of its own, so that it alone can be away (control.sh)
db() { local as=lab; [ "$1" != nova ] || as=cell; echo "mysql+pymysql://$as:lab@localhost/$1?unix_socket=$SOCK"; }
auth() { cat <<E
auth_type = password
auth_url = http://127.0.0.1:$P_KEYSTONE/v3
username = nova
password = $ADMIN_PASS
project_name = service
user_domain_name = Default
project_domain_name = Default
region_name = RegionOne
E
}
mkdir -p "$RUN/etc/keystone" "$RUN/etc/placement"
cat >"$RUN/etc/keystone/keystone.conf" <<E
[DEFAULT]
log_file = $RUN/log/keystone.log
[database]
connection = $(db keystone)
[token]
provider = fernet
expiration = $TOKEN_EXPIRATION
allow_expired_window = 0
[fernet_tokens]
key_repository = $RUN/keystone/fernet
[fernet_receipts]
key_repository = $RUN/keystone/fernet
[credential]
key_repository = $RUN/keystone/credential
[identity]
password_hash_rounds = 4
E
cat >"$RUN/etc/placement/placement.conf" <<E
[DEFAULT]
log_file = $RUN/log/placement.log
[api]
auth_strategy = keystone
[keystone_authtoken]
www_authenticate_uri = http://127.0.0.1:$P_KEYSTONE/
$(auth)
[placement_database]
connection = $(db placement)
max_pool_size = 20
E
cat >"$RUN/etc/nova.conf" <<E
[DEFAULT]
debug = ${NOVA_DEBUG:-false}
transport_url = rabbit://guest:guest@127.0.0.1:$P_RABBIT/
rpc_response_timeout = 60
my_ip = 127.0.0.1
host = controller
state_path = $RUN/state/controller
enabled_apis = osapi_compute
osapi_compute_listen = 0.0.0.0
osapi_compute_listen_port = $P_NOVA
osapi_compute_workers = ${API_WORKERS:-2}
report_interval = $REPORT_INTERVAL
service_down_time = $SERVICE_DOWN_TIME
compute_driver = labdrv.LabDriver
update_resources_interval = 60
sync_power_state_interval = ${SYNC_POWER_INTERVAL:-600}
running_deleted_instance_poll_interval = 1800
heal_instance_info_cache_interval = 0
max_concurrent_builds = ${MAX_BUILDS:-10}
[wsgi]
api_paste_config = $CACHE/nova-api-paste.ini
[api]
auth_strategy = keystone
[conductor]
workers = 1
[scheduler]
workers = 1
discover_hosts_in_cells_interval = 5
[filter_scheduler]
shuffle_best_same_weighed_hosts = true
enabled_filters = ComputeFilter,ComputeCapabilitiesFilter,ServerGroupAntiAffinityFilter,ServerGroupAffinityFilter
[quota]
driver = nova.quota.NoopQuotaDriver
[keystone_authtoken]
www_authenticate_uri = http://127.0.0.1:$P_KEYSTONE/
$(auth)
[placement]
$(auth)
[neutron]
endpoint_override = http://127.0.0.1:$P_NEUTRON
$(auth)
[glance]
endpoint_override = http://127.0.0.1:$P_GLANCE
num_retries = 0
[cinder]
catalog_info = volumev3::publicURL
[vnc]
enabled = false
[oslo_concurrency]
lock_path = $RUN/lock
[oslo_messaging_rabbit]
heartbeat_timeout_threshold = 60
[oslo_messaging_notifications]
driver = noop
[key_manager]
backend = nova.keymgr.conf_key_mgr.ConfKeyManager
fixed_key = 0000000000000000000000000000000000000000000000000000000000000000
E
# apart, since nova-compute must not see it ("No DB access allowed in nova-compute")
cat >"$RUN/etc/nova-db.conf" <<E
[api_database]
connection = $(db nova_api)
[database]
connection = $(db nova)
E
cat >"$RUN/etc/my.cnf" <<E
[mysqld]
user = root
datadir = $RUN/mysql
socket = $SOCK
pid-file = $RUN/mysql.pid
skip-networking
skip-log-bin
skip-name-resolve
max_connections = 500
innodb_buffer_pool_size = 256M
innodb_log_file_size = 64M
innodb_flush_log_at_trx_commit = 0
innodb_doublewrite = 0
innodb_flush_method = nosync
performance_schema = off
character-set-server = utf8mb3
E
cat >"$RUN/etc/rabbitmq.conf" <<E
listeners.tcp.default = 127.0.0.1:$P_RABBIT
loopback_users.guest = true
log.file.level = warning
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 50MB
E

# ---- RabbitMQ (as root, own node name, own epmd, all on loopback) ----------------------------
cat >"$RUN/etc/rabbit.sh" <<E
export HOME=$RUN/rabbit RABBITMQ_NODENAME=novalab@localhost
export RABBITMQ_CONFIG_FILE=$RUN/etc/rabbitmq RABBITMQ_CONF_ENV_FILE=/dev/null
export RABBITMQ_MNESIA_BASE=$RUN/rabbit/mnesia RABBITMQ_LOG_BASE=$RUN/log RABBITMQ_LOGS=$RUN/log/rabbit-node.log
export RABBITMQ_ENABLED_PLUGINS_FILE=$RUN/rabbit/enabled_plugins
export RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$P_RABBIT RABBITMQ_DIST_PORT=$P_RABBIT_DIST
export ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$P_EPMD
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"
E
echo '[].' >"$RUN/rabbit/enabled_plugins"
start epmd /usr/bin/epmd -port "$P_EPMD" -address 127.0.0.1
wait_port "$P_EPMD" 5 epmd || die epmd
start rabbit bash -c ". '$RUN/etc/rabbit.sh'; exec /usr/lib/rabbitmq/bin/rabbitmq-server"

# ---- MariaDB (socket only) -------------------------------------------------------------------
if [ $FRESH = 1 ]; then
    mariadb-install-db --no-defaults --user=root --datadir="$RUN/mysql" --skip-test-db \
        --auth-root-authentication-method=normal >"$RUN/log/mysql-install.log" 2>&1 || die mariadb-install-db
else
    cp -a "$SEED/mysql" "$RUN/mysql"; cp -a "$SEED/keystone" "$RUN/keystone"
fi
start mariadb /usr/sbin/mariadbd --defaults-file="$RUN/etc/my.cnf"
sql() { mariadb --no-defaults -S "$SOCK" -u root "$@"; }
for i in $(seq 300); do sql -e 'select 1' >/dev/null 2>&1 && break; alive mariadb || break; sleep 0.1; done
sql -e 'select 1' >/dev/null || { tail -5 "$RUN/log/mariadb.log" >&2; die "mariadb does not answer in 30 s"; }
# the seed names the socket of the lab that made it
[ $FRESH = 1 ] || sql -e "update nova_api.cell_mappings set database_connection = if(name = 'cell0', '$(db nova_cell0)', '$(db nova)')" || die "cell mappings"
sql -e "create or replace user cell@localhost identified by 'lab'; grant all on nova.* to cell@localhost" || die "account of the cell"
say "mariadb up"

start neutron $PY "$NOVA/py/stub.py" neutron "$P_NEUTRON"
start glance $PY "$NOVA/py/stub.py" glance "$P_GLANCE"

NM() { $PY "$NOVA/py/launch.py" nova-manage --config-file "$RUN/etc/nova.conf" --config-file "$RUN/etc/nova-db.conf" "$@"; }
if [ $FRESH = 1 ]; then
    { for d in keystone placement nova_api nova nova_cell0 glance; do
        echo "create database $d character set utf8mb3;"; done
      echo "create user lab@localhost identified by 'lab'; grant all on *.* to lab@localhost;"; } | sql || die databases
    mkdir -p "$RUN/keystone"; chmod 700 "$RUN/keystone"
    KM() { keystone-manage --config-file "$RUN/etc/keystone/keystone.conf" "$@"; }
    ( KM db_sync && KM fernet_setup --keystone-user root --keystone-group root &&
      KM credential_setup --keystone-user root --keystone-group root &&
      KM bootstrap --bootstrap-password "$ADMIN_PASS" --bootstrap-region-id RegionOne \
        --bootstrap-admin-url "http://$CLOUD_IP:$P_KEYSTONE/v3" --bootstrap-public-url "http://$CLOUD_IP:$P_KEYSTONE/v3" \
        --bootstrap-internal-url "http://$CLOUD_IP:$P_KEYSTONE/v3" ) >"$RUN/log/keystone-sync.log" 2>&1 & k=$!
    placement-manage --config-file "$RUN/etc/placement/placement.conf" db sync >"$RUN/log/placement-sync.log" 2>&1 & p=$!
    ( NM api_db sync && NM cell_v2 map_cell0 --database_connection "$(db nova_cell0)" &&
      NM cell_v2 create_cell --name cell1 && NM db sync ) >"$RUN/log/nova-sync.log" 2>&1 & n=$!
    wait $k || die "keystone db_sync (log/keystone-sync.log)"; say "keystone bootstrapped"
    wait $p || die "placement db sync"; wait $n || die "nova db sync"; say "schemas made"
fi

# ---- keystone, placement: Debian's WSGI scripts under uwsgi ------------------------------------
wsgi() { # wsgi NAME PORT FILE VAR=VALUE...
    local name=$1 port=$2 file=$3; shift 3
    start "$name" "$@" uwsgi_python3 --http-socket "0.0.0.0:$port" --wsgi-file "$file" --master --processes 2 \
        --threads 1 --enable-threads --lazy-apps --die-on-term --need-app --buffer-size 65535 \
        --hook-master-start "unix_signal:15 gracefully_kill_them_all" --listen 100 --disable-logging \
        --add-header "Connection: close" --socket-timeout 60
        # without that header clients reuse a connection uwsgi is closing: now and then
        # "RemoteDisconnected" from keystone, fatal to a starting nova-compute (devstack adds it too)
}
wsgi keystone "$P_KEYSTONE" /usr/bin/keystone-wsgi-public \
    OS_KEYSTONE_CONFIG_DIR="$RUN/etc/keystone" OS_KEYSTONE_CONFIG_FILES=keystone.conf
wsgi placement "$P_PLACEMENT" /usr/bin/placement-api OS_PLACEMENT_CONFIG_DIR="$RUN/etc/placement"
wait_http "$P_KEYSTONE" /v3 90 keystone || die keystone
wait_http "$P_PLACEMENT" / 90 placement || die placement
say "keystone and placement answer"
if [ $FRESH = 1 ]; then
    $PY - "$CLOUD_IP" "$P_NOVA" "$P_PLACEMENT" "$P_GLANCE" "$P_NEUTRON" <<'E' || die "catalogue"
import os, sys, lab
ip, pn, pp, pg, pq = sys.argv[1:]
c = lab.Cloud(); K = os.environ['OS_AUTH_URL']
def post(path, body):
    r = c.call('POST', path, body, mv=None, base=K); assert r.code == 201, (path, r.code, r); return r
for typ, name, url in (('compute', 'nova', 'http://%s:%s/v2.1' % (ip, pn)),
                       ('placement', 'placement', 'http://%s:%s' % (ip, pp)),
                       ('image', 'glance', 'http://127.0.0.1:%s' % pg),
                       ('network', 'neutron', 'http://127.0.0.1:%s' % pq)):
    s = post('/services', {'service': {'type': typ, 'name': name}})['service']['id']
    for i in ('public', 'internal', 'admin'):
        post('/endpoints', {'endpoint': {'service_id': s, 'interface': i, 'url': url, 'region_id': 'RegionOne'}})
p = post('/projects', {'project': {'name': 'service', 'domain_id': 'default'}})['project']['id']
u = post('/users', {'user': {'name': 'nova', 'password': os.environ['OS_PASSWORD'], 'domain_id': 'default'}})['user']['id']
roles = {r['name']: r['id'] for r in c.call('GET', '/roles', mv=None, base=K)['roles']}
if 'service' not in roles:
    roles['service'] = post('/roles', {'role': {'name': 'service'}})['role']['id']
for r in ('admin', 'service'):
    assert c.call('PUT', '/projects/%s/users/%s/roles/%s' % (p, u, roles[r]), mv=None, base=K).code == 204
E
    say "catalogue made"
fi

# ---- nova --------------------------------------------------------------------------------------
mkdir -p "$RUN/state/controller"
for s in conductor scheduler api; do
    start nova-$s $PY "$NOVA/py/launch.py" nova-$s \
        --config-file "$RUN/etc/nova.conf" --config-file "$RUN/etc/nova-db.conf"
done
# rabbit must listen before computes register through the conductor
wait_port "$P_RABBIT" 60 rabbit || die rabbit
wait_port "$P_NOVA" 90 nova-api || die nova-api
say "nova-api answers"
SINCE=$(date -u +%Y-%m-%dT%H:%M:%S)
for c in $COMPUTES; do "$NOVA/compute.sh" start "$c" --nowait || die "$c"; done
if [ $FRESH = 1 ]; then
    $PY - <<'E' || die flavors
import lab
c = lab.Cloud()
for i, (n, v, m, d) in enumerate((('m1.tiny', 1, 512, 1), ('m1.small', 1, 2048, 20), ('m1.huge', 900, 700000, 1)), 1):
    r = c.call('POST', '/flavors', {'flavor': {'id': str(i), 'name': n, 'vcpus': v, 'ram': m, 'disk': d}})
    assert r.code == 200, (r.code, r)
E
fi
$PY - "$SINCE" $COMPUTES <<'E' || die computes
import sys, lab
# 'up' alone may be the seed's heartbeat, not 60 s old; a heartbeat of this run follows the
# creation of the host's RPC queue (a message cast before that is lost)
since, c, want = sys.argv[1], lab.Cloud(), set(sys.argv[2:])
c.wait(lambda: want <= {s['host'] for s in c.call('GET', '/os-services?binary=nova-compute')['services']
                        if s.get('state') == 'up' and (s['updated_at'] or '') > since}, 90)
E
# a new host is usable once it is mapped to the cell; the scheduler's own discovery is slower
if [ $FRESH = 1 ]; then NM cell_v2 discover_hosts >"$RUN/log/discover.log" 2>&1 || die discover_hosts; fi
$PY - $COMPUTES <<'E' || die hypervisors
import sys, lab
c = lab.Cloud(); want = set(sys.argv[1:])
c.wait(lambda: want <= {h['hypervisor_hostname'] for h in c.call('GET', '/os-hypervisors')['hypervisors']}, 90)
E
say "computes up: $COMPUTES"
if [ $FRESH = 1 ]; then     # keep a clean copy: schemas, users, catalogue, flavors, host mappings
    "$NOVA/down.sh" --clean || die "could not end it"
    rm -rf "$SEED.$$"; mkdir -p "$SEED.$$"
    cp -a "$RUN/mysql" "$RUN/keystone" "$SEED.$$/" || die seed
    # another lab of the same NET may have been faster
    [ ! -d "$SEED/mysql" ] && mv -T "$SEED.$$" "$SEED" || rm -rf "$SEED.$$"
    say "seed kept; starting again from it"
    exec "$NOVA/up.sh"
fi
say "up: keystone at http://$CLOUD_IP:$P_KEYSTONE/v3 (admin/$ADMIN_PASS)"
