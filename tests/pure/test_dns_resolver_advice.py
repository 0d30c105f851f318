"""What `localset dns` tells people, per platform."""

import subprocess

import pytest

from localset.base.resolver_advice import advice

STUB = "# by systemd-resolved\nnameserver 127.0.0.53\noptions edns0\n"
PLAIN = "nameserver 192.168.1.1\n"


def commands(lines):
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


@pytest.mark.parametrize(
    ("platform", "port", "resolv_conf", "expected"),
    [
        ("darwin", 5300, "", "/etc/resolver/cluster.local"),
        ("darwin", 53, PLAIN, "port 53"),
        ("linux", 5300, STUB, "DNS=127.64.0.1:5300"),
        ("linux", 5300, STUB, "systemd 246"),
        ("linux", 53, STUB, "DNS=127.64.0.1\\n"),
        ("linux", 53, PLAIN, "1i nameserver 127.64.0.1"),
        ("linux", 5300, PLAIN, "ip_unprivileged_port_start=53"),
        ("linux", 5300, "nameserver 127.0.0.1\n", "server=/cluster.local/127.64.0.1#5300"),
        ("linux", 53, "nameserver 127.64.0.1\n", "already"),
        ("linux", 53, "nameserver 1\nnameserver 2\nnameserver 3\n", "3 would no longer be asked"),
        ("linux", 53, "", "1i nameserver"),
    ],
)
def test_each_platform_gets_its_one_step(platform, port, resolv_conf, expected):
    assert expected in "\n".join(advice(platform, "cluster.local.", "127.64.0.1", port, resolv_conf))


@pytest.mark.parametrize(("platform", "text"), [("darwin", ""), ("linux", STUB), ("linux", PLAIN)])
@pytest.mark.parametrize("port", [53, 5300])
def test_every_command_is_a_line_that_sh_can_read(platform, text, port):
    for command in commands(advice(platform, "cluster.local", "127.64.0.1", port, text)):
        assert subprocess.run(["sh", "-n", "-c", command], check=False).returncode == 0


def test_the_file_for_systemd_resolved_is_what_printf_writes():
    lines = commands(advice("linux", "cluster.local", "127.64.0.1", 5300, STUB))
    printf = next(line for line in lines if line.startswith("printf")).partition(" | ")[0]
    written = subprocess.run(["sh", "-c", printf], check=True, capture_output=True, text=True).stdout
    assert written == "[Resolve]\nDNS=127.64.0.1:5300\nDomains=~cluster.local\n"
