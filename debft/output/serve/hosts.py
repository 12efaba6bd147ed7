"""Who may ask: requests that name this server, and pages that came from it.

Any page that is open in a browser on this machine can send requests to its ports. It is kept out by three things: the rows must
be sent as application/json, for which a browser asks the server first and gets no leave; an `Origin` must be this server's; and a
`Host` must be an address or a name that is meant to be used here. The last one keeps out a page whose name was made to point to
this machine after it was loaded (DNS rebinding), for which the browser sees one origin: such a page has a name, never an address.
"""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

LOCAL = "localhost"


def host_name(address: str) -> str:
    """Return the host of `host:port`, in lower case; "" where there is none."""
    try:
        return (urlsplit(f"//{address}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_address(host: str) -> bool:
    """Tell an IP address from a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_of_this_machine(host: str) -> bool:
    """Tell whether nobody but this machine can reach what is bound to a host."""
    return host == LOCAL or (is_address(host) and ipaddress.ip_address(host).is_loopback)


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """These are the hosts that may be asked. names: beside any address and localhost"""

    names: frozenset[str] = frozenset()

    def problem(self, host: str, origin: str | None) -> str | None:
        """Return what is wrong with the `Host` and `Origin` of a request, None where nothing is."""
        name = host_name(host)
        if not (name == LOCAL or is_address(name) or name in self.names):
            return f"Host: expected {LOCAL}, an address or a name given by --allow-host, got {host[:100]!r}"
        if origin is None:
            return None
        address = origin.partition("://")[2].lower()
        if address == host.lower() or host_name(address) in self.names:
            return None
        return f"Origin: expected a page of this server, got {origin[:100]!r}"
