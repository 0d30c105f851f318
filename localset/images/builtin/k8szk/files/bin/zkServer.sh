#!/bin/sh
# Run the ensemble member that zkGenConfig.sh has configured, in front: this shell becomes the JVM.
# Use: zkServer.sh start-foreground | status
set -eu

. "${0%/*}/zkJava.sh"

# Print the name of the class data archive for this very JVM, class path and user, or nothing. Loading classes from it
# takes a third off the start. Needs Java 13; the JVM itself checks that an archive fits, and goes on without one.
archive_path() {
    cache=${LOCALSET_CACHE:-}
    [ -n "$cache" ] && [ -d "$cache" ] && [ "$java_major" -ge 13 ] || return 0
    key=$( (printf '%s\n' "$java_home" "$class_path" && cat "$java_home/release" && ls -lL "${class_path%%:*}") | cksum)
    printf '%s/zookeeper-%s-%s.jsa' "$cache" "$(id -u)" "${key%% *}"
}

# A member that ends in peace while there is no archive leaves one under a name of its own. The next start puts it in
# place: nobody waits for it, and a member that was killed leaves nothing that anyone would load.
adopt_archive() {
    for fresh in "$1".new.*; do
        [ -s "$fresh" ] && [ -O "$fresh" ] || continue
        kill -0 "${fresh##*.}" 2>/dev/null && continue
        chmod 400 "$fresh" 2>/dev/null && mv -f "$fresh" "$1" 2>/dev/null || true
    done
}

start_foreground() {
    [ -f "$conf_dir/zoo.cfg" ] || zk_fail "there is no $conf_dir/zoo.cfg: run zkGenConfig.sh first"
    heap=${ZK_HEAP_SIZE:-2G}
    java_home=$(readlink -f "$java" 2>/dev/null || printf '%s' "$java")
    java_home=${java_home%/bin/java}
    java_major=0
    if [ -r "$java_home/release" ]; then
        java_major=$(sed -n 's/^JAVA_VERSION="\([0-9]*\).*/\1/p' "$java_home/release")
    fi

    set -- "-Xmx$heap" -XX:+UseSerialGC -XX:-UsePerfData -XX:+IgnoreUnrecognizedVMOptions
    # The quick compiler alone is up sooner and smaller; LOCALSET_JVM=full gives the whole JVM back.
    [ "${LOCALSET_JVM:-}" = full ] || set -- "$@" -XX:TieredStopAtLevel=1

    archive=$(archive_path)
    if [ -n "$archive" ]; then
        [ -f "$archive" ] || adopt_archive "$archive"
        if [ -f "$archive" ] && [ -O "$archive" ]; then
            set -- "$@" "-XX:SharedArchiveFile=$archive" -Xshare:auto -Xlog:disable -Xlog:all=error:stderr
        elif [ -w "${archive%/*}" ]; then
            set -- "$@" "-XX:ArchiveClassesAtExit=$archive.new.$$" -Xlog:disable -Xlog:all=error:stderr
        fi
    fi

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
