#!/bin/sh
# Print this member's figures (mntr), or with --srvr its mode. Use: zkMetrics.sh [--srvr] [PORT]
word=mntr
if [ "${1:-}" = --srvr ]; then
    word=srvr
    shift
fi
exec "${0%/*}/zkAsk.sh" "$word" "$@"
