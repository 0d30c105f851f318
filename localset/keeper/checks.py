"""What this machine allows, row by row: really tried, in forked children that end without a trace.

Called by `localset doctor`, with or without a daemon. The levels are tried by the very code by which the keeper decides
`auto` (`keeper.isolation`); the rest says what else follows from the machine, and which command would change it.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from typing import NamedTuple

from localset.keeper import child, devices, faults, isolation, linux, processes
from localset.keeper.registry import remove_tree

_WAYS_OUT = ("slirp4netns", "pasta")
_CAUSES = ("user-namespaces", "apparmor")
_OWN_ADDRESS = "127.64.0.1"


class Row(NamedTuple):
    """One check. `is_fine` None: it does not matter here. `follows`: what it means; `cure`: the command, or ""."""

    key: str
    what: str
    is_fine: bool | None
    found: str
    follows: str
    cure: str = ""


def rows(data_directory: str) -> list[Row]:
    """Return every row, best read in this order. `data_directory` exists, or its nearest parent is used."""
    private = os.path.join(_existing(data_directory), f".localset-check-{os.getpid()}")
    if not processes.HAS_PROC:
        return [*_mac_rows(), _ports_row()]
    os.makedirs(private, mode=0o700, exist_ok=True)
    try:
        found = [
            _kernel(),
            _user_namespaces(),
            _apparmor(),
            _level(child.LOOPBACK, private),
            _level(child.NAMESPACES, private),
            _process_table(),
            _overlay("overlay", "private layers in memory", private, in_memory=True),
            _overlay("overlay-data", "private layers in the data directory", private, in_memory=False),
            _address(),
            _ports_row(),
            _subuids(),
            _way_out(),
            _emulation(),
            _cgroup(),
            _resolver(),
        ]
        found = _without_followers(found)
        return [*found, _container(is_in_the_way=any(row.is_fine is False for row in found[1:7]))]
    finally:
        remove_tree(private)


def _without_followers(found: list[Row]) -> list[Row]:
    """Return the rows with one cure where one refusal explains them all."""
    refused = next((row.what for row in found if row.key in _CAUSES and row.is_fine is False), "")
    if not refused:
        return found
    return [
        row._replace(cure="") if row.found.startswith("unshare") and row.key not in _CAUSES else row for row in found
    ]


def _existing(path: str) -> str:
    while not os.path.isdir(path) or not os.access(path, os.W_OK):
        parent = os.path.dirname(path)
        if parent == path:
            return "/tmp"  # noqa: S108 - a directory of our own in it, mode 0700
        path = parent
    return path


def in_child(work: Callable[[], str]) -> str:
    """Return what `work` returns in a child of ours, or the words of the OSError that it raises."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = work()
        except OSError as error:
            text = f"{error.strerror or error}"
        except BaseException as error:  # noqa: BLE001 - a child may end in no other way than here
            text = f"the check died: {error!r}"
        with contextlib.suppress(OSError):
            os.write(writing, text.encode()[:4000])
        os._exit(0)
    os.close(writing)
    data = b""
    while block := os.read(reading, 4096):
        data += block
    os.close(reading)
    os.waitpid(pid, 0)
    return data.decode("utf-8", "replace")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _status(name: str) -> str:
    lines = _read("/proc/self/status").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(f"{name}:")), "")


# --- the kernel and who we are ------------------------------------------------------------------------------------


def _kernel() -> Row:
    release = os.uname().release
    pidfd = processes.open_pidfd(os.getpid())
    if pidfd is not None:
        os.close(pidfd)
    version = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    is_new = version >= (5, 8)
    follows = (
        "processes are told apart for certain, exec enters Pods" if is_new else "exec cannot enter a Pod's namespaces"
    )
    cure = "" if is_new else "a kernel of 5.8 or newer"
    return Row("kernel", "kernel, pidfd", pidfd is not None and is_new, release, follows, cure)


def _container(*, is_in_the_way: bool) -> Row:
    signs = [name for name in ("/.dockerenv", "/run/.containerenv") if os.path.exists(name)]
    filtered = _status("Seccomp") == "2"
    if not signs and not filtered:
        return Row("container", "inside a container", None, "no", "nothing stands in the way")
    found = ", ".join([*signs, *(["a seccomp filter"] if filtered else [])])
    if not is_in_the_way:
        return Row("container", "inside a container", None, found, "nothing stands in the way")
    cure = "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined (or --privileged)"
    return Row("container", "inside a container", None, found, "what is refused above may be its doing", cure)


def _user_namespaces() -> Row:
    if linux.may_mount():
        return Row("user-namespaces", "user namespaces", None, "not needed: root", "namespaces are made directly")

    def work() -> str:
        linux.new_user_namespace(0, f"0 {os.geteuid()} 1", f"0 {os.getegid()} 1")
        return ""

    problem = in_child(work)
    if not problem:
        return Row("user-namespaces", "user namespaces", True, "allowed", "own mounts and networks without root")
    cure = "sudo sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000"
    if _read("/proc/sys/user/max_user_namespaces") == "0":
        cure = "sudo sysctl user.max_user_namespaces=15000"
    elif _read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        cure = "sudo sysctl kernel.unprivileged_userns_clone=1"
    return Row("user-namespaces", "user namespaces", False, problem, "only level plain works", cure)


def _apparmor() -> Row:
    value = _read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    what = "AppArmor's restriction of user namespaces"
    if value != "1" or linux.may_mount():
        found = "in force, but not for root" if value == "1" else "off" if value else "not in this kernel"
        return Row("apparmor", what, None, found, "nothing stands in the way")
    cure = "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    return Row("apparmor", what, False, "in force", "a new user namespace has no rights: only level plain works", cure)


# --- the levels ---------------------------------------------------------------------------------------------------


def _level(level: str, private: str) -> Row:
    def work() -> str:
        isolation.attempt(level, private, is_privileged=linux.may_mount())
        return ""

    os.makedirs(private, mode=0o700, exist_ok=True)
    problem = in_child(work)
    remove_tree(private)
    gives = {
        child.LOOPBACK: "volumes at their mountPath, own hostname, hosts and resolv.conf",
        child.NAMESPACES: "own network, process table and IPC as well: unmodified programs on every port",
    }[level]
    lacks = {child.LOOPBACK: "Pods see the host's files only", child.NAMESPACES: "Pods share the host's network"}[level]
    return Row(f"level-{level}", f"level {level}", not problem, problem or "works", lacks if problem else gives)


def _own_mounts() -> None:
    if linux.may_mount():
        linux.unshare(linux.CLONE_NEWNS)
    else:
        linux.new_user_namespace(linux.CLONE_NEWNS, f"0 {os.geteuid()} 1", f"0 {os.getegid()} 1")
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)


def _process_table() -> Row:
    def work() -> str:
        _own_mounts()
        linux.unshare(linux.CLONE_NEWPID)

        def show() -> str:
            devices.show_processes(is_privileged=linux.may_mount())
            return ""

        return in_child(show)

    problem = in_child(work)
    cure = "outside a container, or with an unmasked /proc (docker run --privileged)" if problem else ""
    follows = "no level namespaces" if problem else "`ps` in a Pod sees the Pod"
    return Row("process-table", "own process table", not problem, problem or "works", follows, cure)


def _overlay(key: str, what: str, private: str, *, in_memory: bool) -> Row:
    def work() -> str:
        _own_mounts()
        if in_memory:
            linux.mount("tmpfs", private, "tmpfs", 0)
        for name in ("lower", "upper", "work", "all"):
            os.mkdir(os.path.join(private, name))
        options = f"lowerdir={private}/lower,upperdir={private}/upper,workdir={private}/work"
        options += "" if linux.may_mount() else ",userxattr"
        linux.mount("overlay", f"{private}/all", "overlay", 0, options)
        return ""

    os.makedirs(private, mode=0o700, exist_ok=True)
    problem = in_child(work)
    remove_tree(private)
    if not problem:
        return Row(key, f"overlay: {what}", True, "works", "a named image's files are laid over the host's")
    cure = (
        "a kernel of 5.11 or newer" if in_memory else "a data directory on ext4, xfs or btrfs (localset --data-dir DIR)"
    )
    return Row(key, f"overlay: {what}", False, problem, "directories are put together of single mounts instead", cure)


# --- addresses, ports, ways ---------------------------------------------------------------------------------------


def _can_bind(address: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> str:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address, port))
        except OSError as error:
            return "" if error.errno == errno.EADDRINUSE else (error.strerror or str(error))
    return ""


def _address() -> Row:
    problem = _can_bind(_OWN_ADDRESS, 0)
    follows = "every Pod has an address of its own" if not problem else "Pods cannot have addresses of their own"
    cure = "sudo ip address add 127.0.0.1/8 dev lo" if problem else ""
    return Row("addresses", "addresses in 127.64.0.0/10", not problem, problem or "answer", follows, cure)


def _mac_rows() -> list[Row]:
    row = _address()
    if row.is_fine:
        return [row]
    follows = "each Pod needs its address made first, once per boot (not verified by us on macOS)"
    return [row._replace(follows=follows, cure=f"sudo ifconfig lo0 alias {_OWN_ADDRESS}")]


def _ports_row() -> Row:
    refused = [port for port in (80, 53) if _can_bind(_OWN_ADDRESS, port)]
    if not refused:
        follows = "nginx's port 80 and the resolver's 53 work from the host"
        return Row("low-ports", "ports below 1024", True, "allowed", follows)
    found = "not allowed: " + ", ".join(str(port) for port in refused)
    follows = (
        "from the host, Pods' ports below 1024 are closed and names need another port (in a Pod's own network all work)"
    )
    cure = f"sudo sysctl net.ipv4.ip_unprivileged_port_start={min(refused)}"
    return Row("low-ports", "ports below 1024", False, found, follows, cure)


def on_path(program: str) -> str:
    """Return the path of a program, "" when there is none."""
    places = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/sbin", "/usr/bin", "/usr/local/bin"]
    names = [os.path.join(place, program) for place in places if place]
    return next((name for name in names if os.access(name, os.X_OK)), "")


def _subuids() -> Row:
    if linux.may_mount():
        return Row("subuids", "further users", None, "not needed: root", "runAsUser is real")
    import pwd

    user = pwd.getpwuid(os.getuid()).pw_name
    lines = [line.split(":") for line in _read("/etc/subuid").splitlines()]
    has_range = any(fields[0] in {user, str(os.getuid())} for fields in lines)
    has_helper = bool(on_path("newuidmap"))
    may_gain = _status("NoNewPrivs") != "1"
    is_fine = has_range and has_helper and may_gain
    cure = ""
    if not has_range:
        cure = f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
    elif not has_helper:
        cure = "sudo apt-get install uidmap"
    found = (
        "a range and newuidmap"
        if is_fine
        else "none"
        if not has_range
        else "no newuidmap"
        if not has_helper
        else "no new privileges"
    )
    follows = "a program sees one user, which is you; your files stay yours"
    return Row("subuids", "further users", None, found, follows, cure)


def _way_out() -> Row:
    program = next((found for name in _WAYS_OUT if (found := on_path(name))), "")
    has_device = os.access("/dev/net/tun", os.R_OK | os.W_OK)
    what = "a way out of the Pods' own network"
    if program and has_device:
        return Row("way-out", what, True, program, "at level namespaces Pods reach the outside")
    found = "no slirp4netns" if not program else "/dev/net/tun cannot be opened"
    cure = "sudo apt-get install slirp4netns" if not program else "sudo modprobe tun && sudo chmod 666 /dev/net/tun"
    return Row("way-out", what, False, found, "at level namespaces Pods reach each other and the host only", cure)


def _emulation() -> Row:
    def work() -> str:
        if linux.may_mount():
            linux.unshare(linux.CLONE_NEWNET)
        else:
            linux.new_user_namespace(linux.CLONE_NEWNET, f"0 {os.geteuid()} 1", f"0 {os.getegid()} 1")
        return faults.why_no_emulation()

    problem = in_child(work)
    follows = "`localset fault loss` and `delay` " + ("are refused" if problem else "work at level namespaces")
    cure = "sudo modprobe sch_netem (a kernel built without it: none)" if problem else ""
    return Row("netem", "network emulation", not problem, problem.split(";")[0] or "works", follows, cure)


def _cgroup() -> Row:
    what = "cgroup of our own"
    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        follows = "stopping looks at /proc instead; limits are not enforced"
        return Row("cgroup", what, None, "no unified cgroup tree", follows)
    own = next((line[3:] for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::")), "")
    is_ours = bool(own) and os.access(f"/sys/fs/cgroup{own}", os.W_OK)
    cure = "" if is_ours else "systemd-run --user --scope -p Delegate=yes localset up"
    follows = "nothing follows: limits are not enforced" if is_ours else "limits are not enforced"
    return Row("cgroup", what, None, "delegated" if is_ours else "not delegated", follows, cure)


def _resolver() -> Row:
    target = os.path.realpath("/etc/resolv.conf")
    servers = [line.split()[1] for line in _read("/etc/resolv.conf").splitlines() if line.startswith("nameserver ")]
    stub = "systemd-resolved's stub, " if "systemd/resolve" in target else ""
    found = f"{stub}{', '.join(servers) or 'none named'}"
    return Row("resolver", "resolver in use", None, found, "the host finds Pods' names once it is told", "localset dns")


def best_level(found: list[Row]) -> str:
    """Return the best level that the rows allow, as `auto` decides it."""
    fine = {row.key for row in found if row.is_fine}
    levels = (child.NAMESPACES, child.LOOPBACK)
    return next((level for level in levels if f"level-{level}" in fine), "plain")
