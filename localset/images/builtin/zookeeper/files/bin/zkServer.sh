#!/bin/sh
# The same program as in kubernetes-zookeeper, with this image's directories.
ZK_CONF_DIR=${ZOO_CONF_DIR:-/conf}
ZK_HEAP_SIZE=${ZK_SERVER_HEAP:-1000}m # a number of MB, as upstream's scripts take it
export ZK_CONF_DIR ZK_HEAP_SIZE
exec "${LOCALSET_ROOT:-}/opt/zookeeper/bin/zkServer.sh" "$@"
