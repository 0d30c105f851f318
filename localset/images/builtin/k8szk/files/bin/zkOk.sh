#!/bin/sh
# Probe: exit 0 only when this member answers "imok". It says that the process lives, not that there is a quorum.
# Use: zkOk.sh [PORT]
answer=$("${0%/*}/zkAsk.sh" ruok "$@") && [ "$answer" = imok ] && exit 0
printf 'zkOk.sh: %s\n' "${answer:-no answer to ruok}" >&2
exit 1
