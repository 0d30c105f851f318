#!/bin/sh
# Make everything ready: the system's packages that the built-in images run, and .venv with localset in it. Safe to repeat:
# what is there is left alone, and a second run takes a moment. JAVA_HOME, ZOOKEEPER_HOME and PYTHON are honoured.
# Use: tools/setup.sh [--require-zookeeper]   (then a machine without ZooKeeper or Java is an error, not a remark)
set -eu

cd -- "$(dirname -- "$0")/.."
venv=.venv
policy=/usr/sbin/policy-rc.d
kept_policy=
# Read by postgresql-common when a server package is unpacked; ours says: make no cluster of the system's own.
cluster_rule=/etc/postgresql-common/createcluster.d/localset-setup.conf

say() { printf 'setup: %s\n' "$*" >&2; }
has() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }

has_java() { [ -x "${JAVA_HOME:-/nowhere}/bin/java" ] || has java; }

has_zookeeper() {
    for jar in "${ZOOKEEPER_HOME:-/nowhere}"/lib/zookeeper-[0-9]*.jar "${ZOOKEEPER_HOME:-/nowhere}"/zookeeper-[0-9]*.jar \
        /usr/share/java/zookeeper.jar; do
        [ -f "$jar" ] && return 0
    done
    return 1
}

has_postgres() {
    for program in /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres; do
        [ -x "$program" ] && return 0
    done
    has postgres
}

# Print a Python of at least 3.11, or nothing.
find_python() {
    for python in ${PYTHON:-} python3.13 python3.12 python3.11 python3 python3.14; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$python"
            return 0
        fi
    done
}

# Print the packages to install, one a line, the first of several names that this release has.
missing_packages() {
    has_java || echo default-jre-headless
    has_zookeeper || echo libzookeeper-java
    has nginx || echo 'nginx-light nginx-core nginx'
    has busybox || echo busybox
    has nslookup || echo 'bind9-dnsutils dnsutils'
    has curl || echo curl
    has etcd || echo 'etcd-server etcd'
    has etcdctl || echo 'etcd-client etcd'
    has redis-server || echo redis-server
    has redis-cli || echo redis-tools
    has_postgres || echo postgresql
    has nats-server || echo nats-server
    has apache2 || echo apache2-bin
    if [ ! -x "$venv/bin/python" ]; then
        python=$(find_python)
        if [ -z "$python" ]; then
            echo python3-venv
        elif ! "$python" -c 'import ensurepip' >/dev/null 2>&1; then
            "$python" -c 'import sys; print("python%d.%d-venv python3-venv" % sys.version_info[:2])'
        fi
    fi
}

restore_policy() {
    [ -n "$kept_policy" ] || return 0
    $as_root rm -f "$cluster_rule"
    $as_root rmdir -p "${cluster_rule%/*}" 2>/dev/null || true
    if [ "$kept_policy" = none ]; then
        $as_root rm -f "$policy"
    else
        $as_root mv -f "$kept_policy" "$policy"
    fi
    kept_policy=
}

# A packaged server on 0.0.0.0 would take its port from every Pod: none may start, neither now nor at the next boot.
forbid_services() {
    # One of ours that a killed run left behind is nobody's wish.
    if [ -e "$policy" ] && ! grep -q 'Put here by localset setup' "$policy"; then
        kept_policy=$policy.localset-kept
        [ -e "$kept_policy" ] || $as_root mv "$policy" "$kept_policy"
    else
        kept_policy=none
    fi
    trap restore_policy EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    printf '#!/bin/sh\n# Put here by localset setup while it installs packages: no service may start.\nexit 101\n' |
        $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
    $as_root mkdir -p "${cluster_rule%/*}"
    printf '# Put here by localset setup while it installs packages.\ncreate_main_cluster = false\n' |
        $as_root tee "$cluster_rule" >/dev/null
}

# Print the services that the packages in $* bring; only those are kept from starting at boot.
services_of() {
    for package in "$@"; do
        case $package in
            nginx*) echo nginx ;;
            etcd-server | etcd) echo etcd ;;
            redis-server | nats-server | postgresql) echo "$package" ;;
        esac
    done
}

apt() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@"; }

install_packages() {
    as_root=
    if ! has apt-get; then
        say "these are missing and this system has no apt-get to install them (Debian names): $wanted_words"
        return 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if has sudo && sudo -n true 2>/dev/null; then
            as_root='sudo -n'
        else
            say "these are missing and only root can install them: sudo apt-get install --no-install-recommends $wanted_words"
            return 1
        fi
    fi
    apt update >/dev/null 2>&1 || say 'the package lists could not be refreshed; trying with the old ones'
    names=$(printf '%s\n' "$wanted" | while read -r choices; do
        for choice in $choices; do
            if apt-cache show "$choice" >/dev/null 2>&1; then
                echo "$choice"
                break
            fi
        done
    done)
    # shellcheck disable=SC2086  # a list
    set -- $names
    [ $# -gt 0 ] || { say "this system's package lists have none of: $wanted_words" && return 1; }
    say "installing: $*"
    services=$(services_of "$@")
    forbid_services
    installed=yes
    apt install --no-install-recommends --yes "$@" >/dev/null || installed=no
    restore_policy
    [ "$installed" = yes ] || { say "apt-get could not install: $*" && return 1; }
    for name in "$@"; do
        say "installed $name $(dpkg-query -W -f '${Version}' "$name" 2>/dev/null)"
    done
    if has systemctl && [ -d /run/systemd/system ]; then
        for service in $services; do
            $as_root systemctl --quiet disable "$service.service" 2>/dev/null &&
                say "$service.service is not started at boot" || true
        done
    fi
}

make_environment() {
    # The stamp says for which Python and which dependencies the environment was filled, and where the checkout was.
    stamp=$venv/localset-setup.stamp
    if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import pip' >/dev/null 2>&1; then
        python=$(find_python)
        [ -n "$python" ] || { say 'Python 3.11 or newer is needed, and there is none: set PYTHON to one' && exit 1; }
        say "making $venv with $python"
        "$python" -m venv --clear "$venv"
    fi
    wanted_stamp=$(cat pyproject.toml - <<END | cksum
$("$venv/bin/python" --version) $(pwd)
END
)
    if [ -x "$venv/bin/localset" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted_stamp" ]; then
        return 0
    fi
    say "installing localset and its tools into $venv"
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check -e '.[dev]'
    printf '%s\n' "$wanted_stamp" >"$stamp"
}

wanted=$(missing_packages)
if [ -n "$wanted" ]; then
    wanted_words=$(printf '%s\n' "$wanted" | while read -r first _; do printf '%s ' "$first"; done)
    wanted_words=${wanted_words% }
    install_packages || true
fi
make_environment
# Where PYTHONDONTWRITEBYTECODE is set every start would compile the whole house anew: half of its time.
"$venv/bin/python" -m compileall -q localset || true
if [ "${1:-}" = --require-zookeeper ] && ! { has_java && has_zookeeper; }; then
    say 'ZooKeeper and Java are needed here: apt-get install default-jre-headless libzookeeper-java, or set ZOOKEEPER_HOME and JAVA_HOME'
    exit 1
fi
