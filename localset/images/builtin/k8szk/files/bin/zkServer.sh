#!/bin/sh
# Run the ensemble member that zkGenConfig.sh has configured, in front: this shell becomes the JVM.
# Use: zkServer.sh start-foreground | status
set -eu

. "${0%/*}/zkJava.sh"

start_foreground() {
    [ -f "$conf_dir/zoo.cfg" ] || zk_fail "there is no $conf_dir/zoo.cfg: run zkGenConfig.sh first"
    heap=${ZK_HEAP_SIZE:-2G}

    set -- "-Xmx$heap" -XX:+UseSerialGC -XX:-UsePerfData -XX:+IgnoreUnrecognizedVMOptions
    # The quick compiler alone is up sooner and smaller; LOCALSET_JVM=full gives the whole JVM back.
    [ "${LOCALSET_JVM:-}" = full ] || set -- "$@" -XX:TieredStopAtLevel=1

    # Where /etc/hosts is the host's own, the names of the ensemble stand in a file of the Pod.
    if [ "${LOCALSET_ISOLATION:-}" = plain ] && [ -n "${LOCALSET_HOSTS_FILE:-}" ]; then
        set -- "$@" "-Djdk.net.hosts.file=$LOCALSET_HOSTS_FILE"
    fi

    # A leader that was elected before its name could be found waits 20 s for followers; better to vote again soon.
    # shellcheck disable=SC2086  # JVMFLAGS is a list of options, as in upstream's scripts
    exec "$java" "$@" \
        "-Djava.security.properties=$conf_dir/java.security" \
        -Dzookeeper.leader.maxTimeToWaitForEpoch=1500 \
        -Dzookeeper.jmx.log4j.disable=true \
        -Djava.awt.headless=true \
        "-Dlog4j.configuration=file:$conf_dir/log4j.properties" \
        "-Dlogback.configurationFile=$conf_dir/logback.xml" \
        ${JVMFLAGS:-} ${SERVER_JVMFLAGS:-} \
        -cp "$class_path" org.apache.zookeeper.server.quorum.QuorumPeerMain "$conf_dir/zoo.cfg"
}

case ${1:-} in
    start-foreground) start_foreground ;;
    status) exec "${0%/*}/zkMetrics.sh" --srvr ;;
    *) zk_fail "use: ${0##*/} start-foreground | status (a container's program runs in front; the kubelet stops it)" ;;
esac
