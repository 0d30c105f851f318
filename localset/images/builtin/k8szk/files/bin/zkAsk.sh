#!/bin/sh
# Ask this member one four-letter word and print the answer. Use: zkAsk.sh WORD [PORT]
# Probes run it every 50 ms while a member starts, so it must take milliseconds: nc waits a second, Python needs thirty.
set -u

word=${1:?use: zkAsk.sh WORD [PORT]}
port=${2:-${ZK_CLIENT_PORT:-2181}}
case ${LOCALSET_ISOLATION:-} in
    plain | loopback) address=${POD_IP:-127.0.0.1} ;;
    *) address=127.0.0.1 ;;
esac

# shellcheck disable=SC2016  # expanded by bash
if command -v bash >/dev/null; then
    if [ "$word" = ruok ]; then
        exec bash -c 'exec 3<>"/dev/tcp/$1/$2" || exit 1
            printf ruok >&3 && read -r -t 4 -n 4 -u 3 answer && printf "%s\n" "$answer"' zkAsk "$address" "$port" 2>/dev/null
    fi
    exec bash -c 'exec 3<>"/dev/tcp/$1/$2" && printf %s "$3" >&3 && cat <&3' zkAsk "$address" "$port" "$word"
fi
if command -v busybox >/dev/null; then
    printf %s "$word" | busybox nc -w 4 "$address" "$port"
elif command -v python3 >/dev/null; then
    exec python3 -c '
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 4) as s:
    s.sendall(sys.argv[3].encode())
    while part := s.recv(65536):
        sys.stdout.write(part.decode(errors="replace"))' "$address" "$port" "$word"
elif command -v nc >/dev/null; then
    printf %s "$word" | nc -w 2 "$address" "$port"
else
    printf 'zkAsk.sh: one of bash, busybox, python3 or nc is needed\n' >&2
    exit 1
fi
