"""Checks of IP addresses and port numbers that several kinds share. Pure. Source: apimachinery util/validation."""

from ipaddress import ip_address

from localset.machinery.errors import Cause, bad_value

PROTOCOLS = ["SCTP", "TCP", "UDP"]
_RANGE = "must be between 1 and 65535, inclusive"
_ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


def port_number_causes(path: str, number: int) -> list[Cause]:
    """Return a complaint unless `number` is a port."""
    return [] if 1 <= number <= 65535 else [bad_value(path, number, _RANGE)]


def address_causes(path: str, text: str) -> list[Cause]:
    """Return a complaint unless `text` is an IP address of either family."""
    try:
        ip_address(text)
    except ValueError:
        return [bad_value(path, text, _ADDRESS)]
    return []
