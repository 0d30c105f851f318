#!/bin/sh
# The same program as in kubernetes-zookeeper, with this image's directories.
ZK_CONF_DIR=${ZOO_CONF_DIR:-/conf}
export ZK_CONF_DIR
exec "${LOCALSET_ROOT:-}/opt/zookeeper/bin/zkCli.sh" "$@"
