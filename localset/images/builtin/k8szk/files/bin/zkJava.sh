# Sourced by zkServer.sh and zkCli.sh: finds Java and ZooKeeper's jars and collects JVM options. Runs nothing by itself.
# Sets: java, class_path, conf_dir. Every path can be steered by JAVA_HOME and ZOOKEEPER_HOME.
# shellcheck shell=sh
# shellcheck disable=SC2034  # its variables are for whoever sources it

conf_dir=${LOCALSET_ROOT:-}${ZK_CONF_DIR:-/opt/zookeeper/conf}

zk_fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

if [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/java" ]; then
    java=$JAVA_HOME/bin/java
else
    java=$(command -v java) || zk_fail 'there is no java: install default-jre-headless, or set JAVA_HOME'
fi

# Jars one by one, never a directory: a JVM's own class data archive is refused when the class path has one.
zk_add_jars() {
    for zk_jar in "$@"; do
        [ -f "$zk_jar" ] || continue
        class_path=${class_path:+$class_path:}$zk_jar
    done
}

class_path=
if [ -n "${ZOOKEEPER_HOME:-}" ]; then
    zk_add_jars "$ZOOKEEPER_HOME"/zookeeper-[0-9]*.jar "$ZOOKEEPER_HOME"/lib/*.jar
fi
if [ -z "$class_path" ]; then
    # Debian: the manifest of zookeeper.jar names all it needs but a logger.
    zk_share=/usr/share/java
    [ -f "$zk_share/zookeeper.jar" ] || zk_fail 'there is no ZooKeeper: install libzookeeper-java, or set ZOOKEEPER_HOME'
    zk_add_jars "$zk_share/zookeeper.jar"
    if [ -f "$zk_share/slf4j-log4j12.jar" ] && [ -f "$zk_share/log4j-1.2.jar" ]; then
        zk_add_jars "$zk_share/slf4j-log4j12.jar" "$zk_share/log4j-1.2.jar"
    else
        zk_add_jars "$zk_share/slf4j-simple.jar"
    fi
fi
