#!/bin/sh
# What the official image starts with. For `postgres` it makes a database cluster in an empty PGDATA from POSTGRES_*, runs
# what lies in /docker-entrypoint-initdb.d, then becomes the server; any other command runs as it is.
# The new cluster grows in a directory of its own beneath PGDATA and is moved up when all of that is done: a start that
# was killed half-way is begun again, never half taken for whole.
set -eu

. "${LOCALSET_ROOT:-}/opt/localset/shell/pod.sh"

case ${1:-} in
    '' | -*) set -- postgres "$@" ;;
esac
[ "$1" = postgres ] || exec "$@"
for word in "$@"; do
    case $word in
        '-?' | --help | --describe-config | -V | --version) exec "$@" ;;
    esac
done

# Set variable $1 from itself, from the file that $1_FILE names, or to $2.
from_file() {
    eval "value=\${$1:-} file=\${$1_FILE:-}"
    [ -z "$value" ] || [ -z "$file" ] || pod_fail "both $1 and $1_FILE are set: give one of them"
    [ -z "$file" ] || value=$(cat "$(pod_path "$file")")
    export "$1=${value:-$2}"
    unset "$1_FILE"
}

PGDATA=$(pod_path "${PGDATA:-/var/lib/postgresql/data}")
export PGDATA
socket_directory=$(pod_path /var/run/postgresql)
mkdir -p "$PGDATA" "$socket_directory"
if [ "$(id -u)" -eq 0 ]; then
    pod_drop_to postgres 999 "$PGDATA $socket_directory" "$0" "$@"
fi
chmod 00700 "$PGDATA" "$socket_directory" || pod_say "$PGDATA is not this user's: the server will want it with mode 0700"

initialise() {
    method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
    if [ -z "$POSTGRES_PASSWORD" ]; then
        [ "$method" = trust ] || pod_fail 'the superuser has no password: set POSTGRES_PASSWORD to one that is not empty,
or POSTGRES_HOST_AUTH_METHOD=trust to let everyone in without one (everyone on this machine)'
        pod_say 'POSTGRES_HOST_AUTH_METHOD is trust: whoever reaches the port is let in without a password'
    fi
    final=$PGDATA
    [ -z "$(find "$final" -mindepth 1 -maxdepth 1 \! -name .localset-new -print -quit)" ] ||
        pod_fail "$final has files and no PG_VERSION: it is neither empty nor a database cluster"
    rm -rf "$final/.localset-new"
    mkdir -m 0700 "$final/.localset-new"
    PGDATA=$final/.localset-new
    secret=$(mktemp -d)
    printf '%s\n' "$POSTGRES_PASSWORD" >"$secret/password"
    [ -n "$POSTGRES_PASSWORD" ] || method_of_initdb=trust
    if [ -n "${POSTGRES_INITDB_WALDIR:-}" ]; then
        set -- --waldir "$(pod_path "$POSTGRES_INITDB_WALDIR")"
    else
        set --
    fi
    [ -z "$POSTGRES_PASSWORD" ] || set -- "$@" --pwfile "$secret/password"
    # Upstream lets 127.0.0.1 in without a password, which is the Pod itself there. Here it is the whole machine.
    # shellcheck disable=SC2086  # POSTGRES_INITDB_ARGS is a list of options
    initdb -D "$PGDATA" --username "$POSTGRES_USER" --auth-local trust --auth-host "${method_of_initdb:-scram-sha-256}" \
        "$@" ${POSTGRES_INITDB_ARGS:-}
    printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
    printf "\nlisten_addresses = '*'\n" >>"$PGDATA/postgresql.conf"

    # Nobody may take the server that the scripts talk to for the real one: its socket lies where only they look.
    export PGHOST="$secret" PGUSER="$POSTGRES_USER" PGPASSWORD="$POSTGRES_PASSWORD"
    pg_ctl -D "$PGDATA" -s -w -o "-c listen_addresses= -c unix_socket_directories=$secret -p ${PGPORT:-5432}" start
    trap 'pg_ctl -D "$PGDATA" -s -m immediate stop' EXIT
    if [ "$POSTGRES_DB" != postgres ]; then
        createdb --no-password --maintenance-db postgres "$POSTGRES_DB"
    fi
    for script in "$(pod_path /docker-entrypoint-initdb.d)"/*; do
        run_script "$script"
    done
    trap - EXIT
    pg_ctl -D "$PGDATA" -s -m fast -w stop
    unset PGHOST PGUSER PGPASSWORD
    rm -rf "$secret"

    # PG_VERSION is what the next start looks for: it comes last.
    find "$PGDATA" -mindepth 1 -maxdepth 1 \! -name PG_VERSION -exec mv -t "$final" {} +
    mv "$PGDATA/PG_VERSION" "$final/"
    rmdir "$PGDATA"
    PGDATA=$final
    pod_say 'the database cluster is made'
}

query() { psql -v ON_ERROR_STOP=1 --no-password --no-psqlrc --dbname "$POSTGRES_DB" "$@"; }

run_script() {
    case $1 in
        *.sh)
            pod_say "runs $1"
            if [ -x "$1" ]; then
                "$1"
            elif command -v bash >/dev/null; then
                bash -e "$1"
            else
                sh -e "$1"
            fi
            ;;
        *.sql) pod_say "runs $1" && query -f "$1" ;;
        *.sql.gz) pod_say "runs $1" && gunzip -c "$1" | query ;;
        *.sql.xz) pod_say "runs $1" && xzcat "$1" | query ;;
        *.sql.zst) pod_say "runs $1" && zstd -dc "$1" | query ;;
        */\*) ;;
        *) pod_say "ignores $1" ;;
    esac
}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    from_file POSTGRES_PASSWORD ''
    from_file POSTGRES_USER postgres
    from_file POSTGRES_DB "$POSTGRES_USER"
    from_file POSTGRES_INITDB_ARGS ''
    initialise
fi
exec "$@"
