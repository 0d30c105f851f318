#!/bin/sh
# What the official image starts with: options or a configuration alone mean redis-server, which never runs as root here.
# As there, a command that the manifest gives in place of the entrypoint runs as it is.
set -eu

. "${LOCALSET_ROOT:-}/opt/localset/shell/pod.sh"

case ${1:-} in
    '' | -* | *.conf) set -- redis-server "$@" ;;
esac
if [ "$1" = redis-server ] && [ "$(id -u)" -eq 0 ]; then
    pod_drop_to redis 999 . "$0" "$@"
fi
# Files of the database are nobody else's, unless the manifest has set another mask.
[ "$(umask)" != 0022 ] || umask 0077
exec "$@"
