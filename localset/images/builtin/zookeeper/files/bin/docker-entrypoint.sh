#!/bin/sh
# What the official image starts with: write zoo.cfg and myid from ZOO_* where there are none yet, then run the command.
# In a server's own line "all addresses" is the Pod's address, because Pods share the host's network.
set -eu

. "${LOCALSET_ROOT:-}/opt/localset/shell/pod.sh"

conf=$(pod_path "${ZOO_CONF_DIR:-/conf}")
data=$(pod_path "${ZOO_DATA_DIR:-/data}")
data_log=$(pod_path "${ZOO_DATA_LOG_DIR:-/datalog}")
logs=$(pod_path "${ZOO_LOG_DIR:-/logs}")
mkdir -p "$conf" "$data" "$data_log" "$logs"

if [ "${1:-}" = zkServer.sh ] && [ "$(id -u)" -eq 0 ]; then
    pod_drop_to zookeeper 1000 "$conf $data $data_log $logs" "$0" "$@"
fi

[ -f "$data/myid" ] || printf '%s\n' "${ZOO_MY_ID:-1}" >"$data/myid"

# Print the line of one server. The own one listens: on the address of its name, and for clients on the Pod's.
server_line() {
    case $1 in
        "server.$(cat "$data/myid")="*) ;;
        *) printf '%s\n' "$1" && return ;;
    esac
    line=$1
    if [ -n "$pod_address" ]; then
        line=$(printf '%s' "$line" | sed -E \
            -e "s#=(0\\.0\\.0\\.0|localhost|127\\.0\\.0\\.1):#=$pod_address:#" \
            -e "s#;((0\\.0\\.0\\.0|localhost|127\\.0\\.0\\.1):)?([0-9]+)\$#;$pod_address:\\3#")
    fi
    printf '%s\n' "$line"
}

if [ ! -f "$conf/zoo.cfg" ]; then
    {
        printf 'dataDir=%s\ndataLogDir=%s\n' "$data" "$data_log"
        printf 'tickTime=%s\ninitLimit=%s\nsyncLimit=%s\n' \
            "${ZOO_TICK_TIME:-2000}" "${ZOO_INIT_LIMIT:-5}" "${ZOO_SYNC_LIMIT:-2}"
        printf 'autopurge.snapRetainCount=%s\nautopurge.purgeInterval=%s\n' \
            "${ZOO_AUTOPURGE_SNAPRETAINCOUNT:-3}" "${ZOO_AUTOPURGE_PURGEINTERVAL:-0}"
        printf 'maxClientCnxns=%s\nstandaloneEnabled=%s\n' "${ZOO_MAX_CLIENT_CNXNS:-60}" "${ZOO_STANDALONE_ENABLED:-true}"
        printf 'admin.enableServer=%s\n' "${ZOO_ADMINSERVER_ENABLED:-true}"
        [ -z "$pod_address" ] || printf 'admin.serverAddress=%s\n' "$pod_address"
        set -f
        for server in ${ZOO_SERVERS:-"server.1=localhost:2888:3888;2181"}; do
            server_line "$server"
        done
        case ${ZOO_SERVERS:-;} in
            *\;*) ;;
            *) printf 'clientPort=2181\n%s' "${pod_address:+clientPortAddress=$pod_address
}" ;;
        esac
        [ -z "${ZOO_4LW_COMMANDS_WHITELIST:-}" ] || printf '4lw.commands.whitelist=%s\n' "$ZOO_4LW_COMMANDS_WHITELIST"
        for setting in ${ZOO_CFG_EXTRA:-}; do
            printf '%s\n' "$setting"
        done
        set +f
    } >"$conf/zoo.cfg"
fi
# Beside zoo.cfg lies what the program logs and how it looks up names; see zkGenConfig.sh of the other image.
level=${ZOO_LOG4J_PROP:-INFO,CONSOLE}
level=${level%%,*}
[ -f "$conf/log4j.properties" ] || printf '%s\n' "log4j.rootLogger=$level, CONSOLE" \
    'log4j.appender.CONSOLE=org.apache.log4j.ConsoleAppender' \
    'log4j.appender.CONSOLE.layout=org.apache.log4j.PatternLayout' \
    'log4j.appender.CONSOLE.layout.ConversionPattern=%d{ISO8601} [myid:%X{myid}] - %-5p [%t:%C{1}@%L] - %m%n' \
    >"$conf/log4j.properties"
[ -f "$conf/logback.xml" ] || printf '%s\n' '<configuration>' \
    '  <appender name="CONSOLE" class="ch.qos.logback.core.ConsoleAppender">' \
    '    <encoder><pattern>%d{ISO8601} [myid:%X{myid}] - %-5p [%t:%C{1}@%L] - %m%n</pattern></encoder>' \
    '  </appender>' "  <root level=\"$level\"><appender-ref ref=\"CONSOLE\"/></root>" '</configuration>' >"$conf/logback.xml"
[ -f "$conf/java.security" ] ||
    printf 'networkaddress.cache.ttl=5\nnetworkaddress.cache.negative.ttl=0\n' >"$conf/java.security"
exec "$@"
