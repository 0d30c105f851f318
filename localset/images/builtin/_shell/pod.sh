# Sourced by the built-in images' scripts: where the Pod is, and which program of the host is meant. Runs nothing.
# Sets: pod_root (in front of absolute paths, empty where the container has mounts), pod_address (the address to listen
# on while Pods share the host's network, empty in a network of its own).
# shellcheck shell=sh
# shellcheck disable=SC2034  # its variables are for whoever sources it

pod_root=${LOCALSET_ROOT:-}
case ${LOCALSET_ISOLATION:-} in
    plain | loopback) pod_address=${POD_IP:-} ;;
    *) pod_address= ;;
esac

pod_say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

pod_fail() {
    pod_say "$*"
    exit 1
}

# Tell whether a word means "all addresses of this Pod" or "this Pod itself"; both are the Pod's one address here.
pod_is_here() {
    case $1 in
        '*' | '-*' | 0.0.0.0 | '::' | '-::*' | '[::]' | '::*' | localhost | 127.0.0.1 | '::1' | '-::1' | '[::1]') return 0 ;;
        *) return 1 ;;
    esac
}

# Print a URL or ADDRESS:PORT (or a list of them with commas) with the Pod's address where it says "here".
pod_here() {
    if [ -z "$pod_address" ]; then
        printf '%s' "$1"
    else
        printf '%s' "$1" | sed -E \
            "s#(^|,|//|@)(\\*|0\\.0\\.0\\.0|localhost|127\\.0\\.0\\.1|\\[::1?\\])(:[0-9]|/|,|\$)#\\1$pod_address\\3#g"
    fi
}

# Print an absolute path of the container as this process must write it; any other text as it is.
pod_path() {
    case $1 in
        "$pod_root"/*) printf '%s' "$1" ;;
        /*) printf '%s%s' "$pod_root" "$1" ;;
        *) printf '%s' "$1" ;;
    esac
}

# Print the host's program of this name: the first in PATH that is not the calling script itself.
pod_program() {
    pod_rest=$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin:
    while [ -n "$pod_rest" ]; do
        pod_directory=${pod_rest%%:*}
        pod_rest=${pod_rest#*:}
        pod_found=$pod_directory/$1
        if [ -n "$pod_directory" ] && [ -x "$pod_found" ] && [ ! -d "$pod_found" ] && ! [ "$pod_found" -ef "$0" ]; then
            printf '%s' "$pod_found"
            return 0
        fi
    done
    pod_fail "the host has no $1: install the package $2"
}

# Become user $1 (uid $2 where nobody knows the name), the owner of the directories $3 (words); then run the rest.
pod_drop_to() {
    pod_uid=$(id -u "$1" 2>/dev/null || printf '%s' "$2")
    pod_gid=$(id -g "$1" 2>/dev/null || printf '%s' "$2")
    for pod_directory in $3; do
        find "$pod_directory" \! -user "$pod_uid" -exec chown "$pod_uid:$pod_gid" {} +
    done
    shift 3
    command -v setpriv >/dev/null || pod_fail 'there is no setpriv (package util-linux) to give up the rights of root'
    exec setpriv --reuid "$pod_uid" --regid "$pod_gid" --clear-groups -- "$@"
}
