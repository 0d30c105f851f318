#!/bin/sh
# What the official image starts with: options alone mean nats-server.
set -eu

case ${1:-} in
    '' | -*) set -- nats-server "$@" ;;
esac
exec "$@"
