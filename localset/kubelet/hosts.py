"""Names without DNS: the Pods' hosts files, kept current from Endpoints.

`HostsTable` is pure: lines of fixed length per namespace, of which a readiness change flips one byte (`#` over the
first of the address: the JVM's reader takes no blank in front), so that a change costs one `pwrite` per file and a
reader never sees half a line. `HostsFiles` owns the files.
Files are bind-mounted, so they are written in place and never renamed (runtime.md 1.5); the JVM reads names
case-sensitively and takes the first of a line as the reverse name, hence the full name first.
"""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from localset.base.files import write_in_place
from localset.base.frozen import frozen
from localset.machinery.metadata import Object, name_of, namespace_of

log = logging.getLogger(__name__)

_COMPACT_WHEN_DEAD = 64


@frozen
class HostEntry:
    """One ready address with the hostname that its Endpoints give it."""

    address: str
    hostname: str
    service: str
    namespace: str

    def line(self, viewer_namespace: str, domain: str) -> str:
        """Return the hosts line as a Pod of `viewer_namespace` may use it: longest name first."""
        stem = f"{self.hostname}.{self.service}"
        names = [f"{stem}.{self.namespace}.svc.{domain}", f"{stem}.{self.namespace}.svc", f"{stem}.{self.namespace}"]
        if self.namespace == viewer_namespace:
            names.append(stem)
        return f"{self.address}\t{' '.join(names)}"


def entries_of(endpoints: Object) -> list[HostEntry]:
    """Return the ready, named addresses of an Endpoints object."""
    return [
        HostEntry(address["ip"], address["hostname"], name_of(endpoints), namespace_of(endpoints))
        for subset in endpoints.get("subsets") or []
        for address in subset.get("addresses") or []
        if address.get("hostname") and address.get("ip")
    ]


class HostsTable:
    """The shared part of all hosts files of one namespace, as bytes with slots."""

    def __init__(self, namespace: str, domain: str) -> None:
        """Start empty."""
        self._namespace = namespace
        self._domain = domain
        self._offsets: dict[HostEntry, int] = {}
        self._live: set[HostEntry] = set()
        self.content = bytearray()

    def update(self, gone: Iterable[HostEntry], come: Iterable[HostEntry]) -> list[tuple[int, bytes]] | None:
        """Apply a change; return the writes (offset, bytes) that bring a file up to date, or None to write it anew."""
        writes: list[tuple[int, bytes]] = []
        for entry in gone:
            if entry in self._live:
                self._live.discard(entry)
                writes.append(self._mark(entry, b"#"))
        for entry in come:
            if entry in self._live:
                continue
            self._live.add(entry)
            if entry in self._offsets:
                writes.append(self._mark(entry, entry.address[:1].encode()))
            else:
                line = entry.line(self._namespace, self._domain).encode() + b"\n"
                self._offsets[entry] = len(self.content)
                writes.append((len(self.content), line))
                self.content += line
        dead = len(self._offsets) - len(self._live)
        if dead > _COMPACT_WHEN_DEAD and dead > len(self._live):
            self._compact()
            return None
        return writes

    def _mark(self, entry: HostEntry, mark: bytes) -> tuple[int, bytes]:
        offset = self._offsets[entry]
        self.content[offset : offset + 1] = mark
        return offset, mark

    def _compact(self) -> None:
        live = [entry for entry in self._offsets if entry in self._live]
        self._offsets.clear()
        self.content.clear()
        for entry in live:
            self._offsets[entry] = len(self.content)
            self.content += entry.line(self._namespace, self._domain).encode() + b"\n"


@dataclass
class _Namespace:
    table: HostsTable
    files: dict[Path, bytes] = field(default_factory=dict)


class HostsFiles:
    """All hosts files of this node. `apply` is called for each Endpoints change, `write` once per Pod start."""

    def __init__(self, domain: str, *, carries_names: bool) -> None:
        """Without `carries_names` the files hold the Pod's own line only: names come by DNS."""
        self._domain = domain
        self._carries_names = carries_names
        self._entries: dict[tuple[str, str], set[HostEntry]] = {}
        self._namespaces: dict[str, _Namespace] = {}

    def write(self, path: Path, namespace: str, header: bytes) -> None:
        """Write a Pod's file and keep it current from now on. Idempotent."""
        group = self._group(namespace)
        write_in_place(path, header + bytes(group.table.content))
        group.files[path] = header

    def drop(self, path: Path, namespace: str) -> None:
        """Stop keeping a file current."""
        group = self._namespaces.get(namespace)
        if group is not None:
            group.files.pop(path, None)
            if not group.files:
                del self._namespaces[namespace]

    def apply(self, old: Object | None, new: Object | None) -> None:
        """Take up a change of Endpoints: only the lines that changed are written."""
        subject = new if new is not None else old
        if subject is None or not self._carries_names:
            return
        key = (namespace_of(subject), name_of(subject))
        before = self._entries.get(key, set())
        after = set(entries_of(new)) if new is not None else set()
        gone, come = before - after, sorted(after - before, key=lambda entry: entry.hostname)
        if after:
            self._entries[key] = after
        else:
            self._entries.pop(key, None)
        if not gone and not come:
            return
        for group in self._namespaces.values():
            self._write_change(group, group.table.update(gone, come))

    def _group(self, namespace: str) -> _Namespace:
        group = self._namespaces.get(namespace)
        if group is None:
            table = HostsTable(namespace, self._domain)
            everything = sorted((e for s in self._entries.values() for e in s), key=lambda e: (e.service, e.hostname))
            table.update([], everything)
            group = self._namespaces[namespace] = _Namespace(table)
        return group

    def _write_change(self, group: _Namespace, writes: list[tuple[int, bytes]] | None) -> None:
        for path, header in list(group.files.items()):
            try:
                if writes is None:
                    write_in_place(path, header + bytes(group.table.content))
                else:
                    _write_at(path, len(header), writes)
            except OSError as error:
                log.warning("cannot keep %s current: %s", path, error)


def _write_at(path: Path, base: int, writes: list[tuple[int, bytes]]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for offset, data in writes:
            os.pwrite(descriptor, data, base + offset)
    finally:
        os.close(descriptor)


def hosts_header(pod: Object, address: str, domain: str) -> bytes:
    """Return the part of a hosts file that is the Pod's own: its line first, then localhost and hostAliases."""
    spec = pod.get("spec") or {}
    hostname = hostname_of(pod)
    own = [name for name in (fqdn_of(pod, domain), hostname) if name]
    lines = [f"{address}\t{' '.join(dict.fromkeys(own))}", "127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost"]
    aliases = spec.get("hostAliases") or []
    lines += [f"{alias.get('ip', '')}\t{' '.join(alias.get('hostnames') or [])}" for alias in aliases]
    return ("\n".join(lines) + "\n").encode()


def hostname_of(pod: Object) -> str:
    """Return the Pod's hostname."""
    return str((pod.get("spec") or {}).get("hostname") or name_of(pod))


def fqdn_of(pod: Object, domain: str) -> str:
    """Return `zk-0.zk-headless.default.svc.cluster.local`, empty without a subdomain."""
    subdomain = (pod.get("spec") or {}).get("subdomain")
    return f"{hostname_of(pod)}.{subdomain}.{namespace_of(pod)}.svc.{domain}" if subdomain else ""


def resolv_conf(pod: Object, dns_address: str, domain: str, host_text: Callable[[], str]) -> str:
    """Return the Pod's resolv.conf by its dnsPolicy and dnsConfig (semantics 4.3)."""
    spec = pod.get("spec") or {}
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    config: Mapping[str, list[object]] = spec.get("dnsConfig") or {}
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    if policy == "Default":
        base = host_text()
        if not config:
            return base
        for line in base.splitlines():
            word, _, rest = line.strip().partition(" ")
            servers += [rest.strip()] if word == "nameserver" else []
            searches += rest.split() if word == "search" else []
    elif policy != "None":
        namespace = namespace_of(pod)
        servers, searches = [dns_address], [f"{namespace}.svc.{domain}", f"svc.{domain}", domain]
        options = ["ndots:5"]
    servers += [str(s) for s in config.get("nameservers") or []]
    searches += [str(s) for s in config.get("searches") or []]
    for option in config.get("options") or []:
        if isinstance(option, dict):
            value = option.get("value")
            options.append(f"{option.get('name')}:{value}" if value else f"{option.get('name')}")
    lines = [f"nameserver {server}" for server in dict.fromkeys(servers)]
    lines += [f"search {' '.join(dict.fromkeys(searches))}"] if searches else []
    lines += [f"options {' '.join(options)}"] if options else []
    return "\n".join(lines) + "\n"
