"""The one step that makes a whole machine resolve the zone, as text for people.

`localset dns` prints it. Pure: it is told the platform and the text of /etc/resolv.conf and changes nothing itself; the
step needs root, so a person takes it. Lines that start with `$ ` are commands, the others say why.
"""

import shlex

_STUB_ADDRESSES = ("127.0.0.53", "127.0.0.54")
_MAXIMUM_NAME_SERVERS = 3
_RESOLVED_FILE = "/etc/systemd/resolved.conf.d/localset.conf"


def advice(platform: str, zone: str, address: str, port: int, resolv_conf_text: str) -> list[str]:
    """Return the lines to show for `sys.platform` `platform`; `address` and `port` are those of the host's listener."""
    zone = zone.strip(".")
    if platform == "darwin":
        return _macos(zone, address, port)
    name_servers = _name_servers(resolv_conf_text)
    if address in name_servers and port == 53:
        return [f"This machine already asks {address} for names: /etc/resolv.conf names it."]
    if any(stub in name_servers for stub in _STUB_ADDRESSES):
        return _systemd_resolved(zone, address, port)
    lines = _plain(zone, address, port, name_servers)
    if any(server.startswith("127.") for server in name_servers):
        lines += [
            "/etc/resolv.conf names a resolver on this machine. If it is dnsmasq, this line in its settings is enough:",
            f"  server=/{zone}/{address}#{port}",
        ]
    return lines


def _name_servers(resolv_conf: str) -> list[str]:
    lines = (line.split() for line in resolv_conf.splitlines())
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]


def _write_file(path: str, content: str) -> list[str]:
    directory = path.rpartition("/")[0]
    return [
        f"$ sudo mkdir -p {shlex.quote(directory)}",
        f"$ printf {shlex.quote(content)} | sudo tee {shlex.quote(path)}",
    ]


def _macos(zone: str, address: str, port: int) -> list[str]:
    path = f"/etc/resolver/{zone}"
    return [
        f"macOS asks {address} for names below {zone} once this file exists (any port is fine):",
        *_write_file(path, f"nameserver {address}\\nport {port}\\n"),
        f"Undo: sudo rm {shlex.quote(path)}",
    ]


def _systemd_resolved(zone: str, address: str, port: int) -> list[str]:
    server = address if port == 53 else f"{address}:{port}"
    content = f"[Resolve]\\nDNS={server}\\nDomains=~{zone}\\n"
    lines = [f"systemd-resolved asks {server} for names below {zone} once this file exists:"]
    lines += _write_file(_RESOLVED_FILE, content)
    lines.append("$ sudo systemctl restart systemd-resolved")
    if port != 53:
        lines.append("A port after the address needs systemd 246 or later (see: resolvectl --version).")
    lines.append(f"Undo: sudo rm {_RESOLVED_FILE} && sudo systemctl restart systemd-resolved")
    return lines


def _plain(zone: str, address: str, port: int, name_servers: list[str]) -> list[str]:
    if port != 53:
        return [
            f"/etc/resolv.conf has no way to name a port, and localset answers on port {port}: port 53 needs root or",
            "$ sudo sysctl -w net.ipv4.ip_unprivileged_port_start=53",
            "and a restart of the daemon (localset down, localset up). Until then: localset dns query NAME",
        ]
    lines = [
        f"This machine resolves {zone} once localset is its first name server. It refuses names outside the zone,",
        "and the C library then asks the next server:",
        f"$ sudo sed -i '1i nameserver {address}' /etc/resolv.conf",
        "A program that writes /etc/resolv.conf (a DHCP client, NetworkManager) may undo it.",
    ]
    if len(name_servers) >= _MAXIMUM_NAME_SERVERS:
        dropped = name_servers[_MAXIMUM_NAME_SERVERS - 1]
        lines.append(f"Only the first {_MAXIMUM_NAME_SERVERS} name servers count: {dropped} would no longer be asked.")
    return lines
