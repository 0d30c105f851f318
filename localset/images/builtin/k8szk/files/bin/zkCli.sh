#!/bin/sh
# ZooKeeper's own client, on this member unless -server says otherwise. Use: zkCli.sh [-server ADDRESS:PORT] [COMMAND …]
set -eu

. "${0%/*}/zkJava.sh"

case ${LOCALSET_ISOLATION:-} in
    plain | loopback) address=${POD_IP:-127.0.0.1} ;;
    *) address=127.0.0.1 ;;
esac
case ${1:-} in
    -server) server=$2 && shift 2 ;;
    *) server=$address:${ZK_CLIENT_PORT:-2181} ;;
esac
if [ "${LOCALSET_ISOLATION:-}" = plain ] && [ -n "${LOCALSET_HOSTS_FILE:-}" ]; then
    CLIENT_JVMFLAGS="-Djdk.net.hosts.file=$LOCALSET_HOSTS_FILE ${CLIENT_JVMFLAGS:-}"
fi
# The member's logging at WARN: what is asked for must not drown in the client's own log.
# shellcheck disable=SC2086  # CLIENT_JVMFLAGS is a list of options
exec "$java" -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData \
    "-Dlog4j.configuration=file:${0%/*}/client.log4j.properties" \
    ${CLIENT_JVMFLAGS:-} -cp "$class_path" org.apache.zookeeper.ZooKeeperMain -server "$server" "$@"
