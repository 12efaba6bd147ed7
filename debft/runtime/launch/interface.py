"""The network interface by which process 0 is reached: gloo would take that of the host's own name, often 127.0.0.1.

With it one side of two machines dials itself, and both wait for ever.
"""

import ipaddress
import os
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

from debft.errors import InputError, one_of, shown

ASK_FOR_ADDRESS = 0x8915  # SIOCGIFADDR. Source: netdevice(7)
NAME_OF_GLOO = "GLOO_SOCKET_IFNAME"


def name_interface() -> None:
    """Let gloo use the interface of the route to process 0, unless the user has named one or process 0 is on this machine alone.

    Raises InputError where the user has named one that is not here.
    """
    named = os.environ.get(NAME_OF_GLOO, "")
    here = [name for _, name in socket.if_nameindex()]
    for one in named.split(",") if len(named) > 1 else ():  # as torch reads it
        if one not in here:
            raise InputError(f"{NAME_OF_GLOO}: expected a network interface, {one_of(here)}, got {shown(one)}; unset it")
    address = os.environ.get("MASTER_ADDR", "localhost")
    if NAME_OF_GLOO not in os.environ and (name := interface_to(address)):
        os.environ[NAME_OF_GLOO] = name


def interface_to(address: str) -> str | None:
    """Return the name of the interface of the route to a host, None where it is a loopback, or the system does not say."""
    with suppress(OSError, UnicodeError):  # a name may be none that the network could have
        (family, *_, place), *_ = socket.getaddrinfo(address, 9, type=socket.SOCK_DGRAM)
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(place)  # which sends nothing
            own = ipaddress.ip_address(probe.getsockname()[0].partition("%")[0])
        if not own.is_loopback:
            return next((name for _, name in socket.if_nameindex() if own in _addresses(name)), None)
    return None


def _addresses(name: str) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Return the addresses of an interface, the first one of IPv4 alone."""
    found: set[ipaddress.IPv4Address | ipaddress.IPv6Address] = set()
    if sys.platform != "linux":
        return found
    import fcntl

    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        answer = fcntl.ioctl(probe, ASK_FOR_ADDRESS, struct.pack("256s", name.encode()[:15]))
        found.add(ipaddress.ip_address(answer[20:24]))
    with suppress(OSError):
        rows = [line.split() for line in Path("/proc/net/if_inet6").read_text().splitlines()]
        found.update(ipaddress.ip_address(bytes.fromhex(row[0])) for row in rows if row[-1] == name)
    return found
