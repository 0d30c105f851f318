#!/bin/sh
# What the official image starts with: options, or a word that is no program, belong to bash.
case ${1:-} in
    '' | -*) set -- bash "$@" ;;
    *) command -v "$1" >/dev/null 2>&1 || set -- bash "$@" ;;
esac
exec "$@"
