#!/bin/sh
# Write zoo.cfg, myid and the logging and JVM settings of one ensemble member from ZK_* variables and the Pod's identity.
# The container runs it before zkServer.sh; it starts nothing. Every value is taken as the manifest gives it.
set -eu

fail() {
    printf 'zkGenConfig.sh: %s\n' "$*" >&2
    exit 1
}

root=${LOCALSET_ROOT:-}
data_dir=$root${ZK_DATA_DIR:-/var/lib/zookeeper/data}
data_log_dir=$root${ZK_DATA_LOG_DIR:-/var/lib/zookeeper/log}
conf_dir=$root${ZK_CONF_DIR:-/opt/zookeeper/conf}
client_port=${ZK_CLIENT_PORT:-2181}
server_port=${ZK_SERVER_PORT:-2888}
election_port=${ZK_ELECTION_PORT:-3888}
tick_time=${ZK_TICK_TIME:-2000}
log_level=${ZK_LOG_LEVEL:-INFO}

# A Pod without an own UTS namespace has the host's name, so the variables go before hostname.
pod=${LOCALSET_POD_NAME:-$(hostname -s)}
if [ -n "${LOCALSET_POD_NAME:-}" ]; then
    domain=${LOCALSET_POD_DOMAIN:-}
else
    domain=$(hostname -d)
fi

ordinal=${pod##*-}
base=${pod%-*}
case $ordinal in
    "$pod" | '' | *[!0-9]*) fail "the name '$pod' does not end in -<ordinal>: run it in a StatefulSet" ;;
esac
my_id=$((ordinal + 1))

members=${ZK_ENSEMBLE:-}
if [ -z "$members" ] && [ -n "${ZK_REPLICAS:-}" ]; then
    case $ZK_REPLICAS in
        *[!0-9]*) fail "ZK_REPLICAS is '$ZK_REPLICAS', not a number" ;;
    esac
    n=0
    while [ "$n" -lt "$ZK_REPLICAS" ]; do
        members="$members$base-$n;"
        n=$((n + 1))
    done
fi
[ -n "$members" ] || fail "set ZK_ENSEMBLE (as in 'zk-0;zk-1;zk-2') or ZK_REPLICAS (as in '3')"

servers=
number=0
is_member=no
rest=$members\;
while [ -n "$rest" ]; do
    member=${rest%%;*}
    rest=${rest#*;}
    # Blanks around a name are a slip of the pen, never part of it.
    member=${member#"${member%%[! ]*}"}
    member=${member%"${member##*[! ]}"}
    [ -n "$member" ] || continue
    number=$((number + 1))
    [ "$number" -ne "$my_id" ] || is_member=yes
    servers="${servers}server.$number=$member${domain:+.$domain}:$server_port:$election_port
"
done
[ "$is_member" = yes ] || fail "'$pod' is number $my_id, but the ensemble '$members' has $number members"

# Without a network namespace of its own a member must bind its own address: every replica uses the same ports.
case ${LOCALSET_ISOLATION:-} in
    plain | loopback) client_address=${POD_IP:-} ;;
    *) client_address= ;;
esac

mkdir -p "$data_dir" "$data_log_dir" "$conf_dir"

{
    printf 'dataDir=%s\ndataLogDir=%s\n' "$data_dir" "$data_log_dir"
    printf 'clientPort=%s\n' "$client_port"
    [ -z "$client_address" ] || printf 'clientPortAddress=%s\n' "$client_address"
    printf 'tickTime=%s\ninitLimit=%s\nsyncLimit=%s\n' "$tick_time" "${ZK_INIT_LIMIT:-10}" "${ZK_SYNC_LIMIT:-5}"
    printf 'maxClientCnxns=%s\n' "${ZK_MAX_CLIENT_CNXNS:-60}"
    printf 'minSessionTimeout=%s\n' "${ZK_MIN_SESSION_TIMEOUT:-$((tick_time * 2))}"
    printf 'maxSessionTimeout=%s\n' "${ZK_MAX_SESSION_TIMEOUT:-$((tick_time * 20))}"
    printf 'autopurge.snapRetainCount=%s\n' "${ZK_SNAP_RETAIN_COUNT:-3}"
    printf 'autopurge.purgeInterval=%s\n' "${ZK_PURGE_INTERVAL:-0}"
    # ruok is off by default since 3.5, and the admin server would bind 0.0.0.0:8080 for every replica.
    printf '4lw.commands.whitelist=ruok,srvr,mntr,stat,conf,cons,envi,isro\n'
    printf 'admin.enableServer=false\nstandaloneEnabled=false\nreconfigEnabled=false\n'
    printf '%s' "$servers"
} >"$conf_dir/zoo.cfg"

printf '%s\n' "$my_id" >"$data_dir/myid"

printf '%s\n' \
    "log4j.rootLogger=$log_level, CONSOLE" \
    'log4j.appender.CONSOLE=org.apache.log4j.ConsoleAppender' \
    'log4j.appender.CONSOLE.layout=org.apache.log4j.PatternLayout' \
    'log4j.appender.CONSOLE.layout.ConversionPattern=%d{ISO8601} [myid:%X{myid}] - %-5p [%t:%C{1}@%L] - %m%n' \
    >"$conf_dir/log4j.properties"

# ZooKeeper 3.8 and later, as upstream packs it, logs by logback instead.
printf '%s\n' \
    '<configuration>' \
    '  <appender name="CONSOLE" class="ch.qos.logback.core.ConsoleAppender">' \
    '    <encoder><pattern>%d{ISO8601} [myid:%X{myid}] - %-5p [%t:%C{1}@%L] - %m%n</pattern></encoder>' \
    '  </appender>' \
    "  <root level=\"$log_level\"><appender-ref ref=\"CONSOLE\"/></root>" \
    '</configuration>' \
    >"$conf_dir/logback.xml"

printf 'ZK_HEAP=%s\n' "${ZK_HEAP_SIZE:-2G}" >"$conf_dir/java.env"

# The JVM remembers "no such name" for 10 s; a member that asks once too early would stand still that long. The system
# property for it is ignored, only a security properties file counts.
printf 'networkaddress.cache.ttl=5\nnetworkaddress.cache.negative.ttl=0\n' >"$conf_dir/java.security"

printf 'zkGenConfig.sh: member %s of %s, in %s\n' "$my_id" "$number" "$conf_dir"
cat "$conf_dir/zoo.cfg"
