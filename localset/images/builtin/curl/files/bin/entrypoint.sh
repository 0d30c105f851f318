#!/bin/sh
# What the image starts with: options, or a word that is no program (a URL), belong to curl.
case ${1:-} in
    '' | -*) set -- curl "$@" ;;
    *) command -v "$1" >/dev/null 2>&1 || set -- curl "$@" ;;
esac
exec "$@"
