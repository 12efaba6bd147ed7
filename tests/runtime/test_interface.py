"""gloo is told the interface of the route to process 0, where that is on another machine and the user has named none."""

import fcntl
import os
import socket
from ipaddress import ip_address
from types import SimpleNamespace

import pytest

from debft.errors import InputError
from debft.runtime.launch import interface
from debft.runtime.launch.interface import NAME_OF_GLOO, interface_to, name_interface

ADDRESSES = {"lo": ["127.0.0.1"], "eth0": ["192.0.2.3", "fe80::1"], "ib0": ["198.51.100.3", "fe80::2"], "odd": ["127.0.1.1"]}
# As Linux has it. Source: proc_net(5)
IF_INET6 = """00000000000000000000000000000001 01 80 10 80       lo
fe800000000000000000000000000002 02 40 20 80      ib0
20010db8000000000000000000000002 02 40 00 80      ib0
"""


@pytest.fixture
def variables(monkeypatch):
    """Set these variables alone of those that are read."""

    def choose(**given):
        for name in (NAME_OF_GLOO, "MASTER_ADDR"):
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)

    return choose


@pytest.mark.parametrize(
    ("given", "asked", "named"),
    [
        ({"MASTER_ADDR": "192.0.2.7"}, ["192.0.2.7"], "eth0"),
        ({"MASTER_ADDR": "127.0.0.1"}, ["127.0.0.1"], None),
        ({}, ["localhost"], None),
        ({"MASTER_ADDR": "192.0.2.7", NAME_OF_GLOO: ""}, [], ""),
        ({"MASTER_ADDR": "192.0.2.7", NAME_OF_GLOO: "x"}, [], "x"),  # torch does not read a single letter
        ({"MASTER_ADDR": "192.0.2.7", NAME_OF_GLOO: "ib0"}, [], "ib0"),
        ({"MASTER_ADDR": "192.0.2.7", NAME_OF_GLOO: "ib0,eth0"}, [], "ib0,eth0"),
    ],
)
def test_interface_is_named_where_the_user_has_named_none(variables, monkeypatch, given, asked, named):
    looked = []
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0"), (3, "ib0")])
    monkeypatch.setattr(interface, "interface_to", lambda host: looked.append(host) or {"192.0.2.7": "eth0"}.get(host))
    variables(**given)
    name_interface()
    assert (looked, os.environ.get(NAME_OF_GLOO)) == (asked, named)


@pytest.mark.parametrize("named", ["no", "ib0,no"])
def test_interface_that_is_not_here_is_refused_with_those_that_are(variables, monkeypatch, named):
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (3, "ib0")])
    variables(**{NAME_OF_GLOO: named})
    with pytest.raises(InputError) as raised:
        name_interface()
    assert str(raised.value) == f"{NAME_OF_GLOO}: expected a network interface, lo, ib0, got 'no'; unset it"


class Network:
    """Stands in for `socket`. own: the address that the route to any host begins at, or the error that asking for one ends with"""

    SOCK_DGRAM = socket.SOCK_DGRAM

    def __init__(self, own, fails=""):
        self.own, self.fails, self.done = own, fails, []

    def do(self, call, *given):
        self.done.append((call, *given))
        if call == self.fails:
            raise self.own

    def getaddrinfo(self, host, port, *, type):
        self.do("getaddrinfo", host, port, type)
        return [("family", type, 17, "", "place"), ("another", type, 17, "", "elsewhere")]

    def socket(self, family, kind):
        self.do("socket", family, kind)
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.do("close")

    def connect(self, place):
        self.do("connect", place)

    def getsockname(self):
        return (self.own, 40000)

    def if_nameindex(self):
        return list(enumerate(ADDRESSES, start=1))


@pytest.mark.parametrize(
    ("own", "name"),
    [
        ("198.51.100.3", "ib0"),
        ("fe80::1%eth0", "eth0"),
        ("127.0.0.1", None),
        ("127.0.1.1", None),
        ("::1", None),
        ("203.0.113.9", None),  # that of no interface which the system shows
    ],
)
def test_interface_is_the_one_with_the_address_at_which_the_route_begins(monkeypatch, own, name):
    network = Network(own)
    monkeypatch.setattr(interface, "socket", network)
    monkeypatch.setattr(interface, "_addresses", lambda name: set(map(ip_address, ADDRESSES[name])))
    assert interface_to("a-host") == name
    route = [("getaddrinfo", "a-host", 9, socket.SOCK_DGRAM), ("socket", "family", socket.SOCK_DGRAM), ("connect", "place")]
    assert network.done == [*route, ("close",)]


@pytest.mark.parametrize("fails", ["getaddrinfo", "socket", "connect"])
@pytest.mark.parametrize("error", [OSError(101, "Network is unreachable"), UnicodeError("label too long")], ids=["system", "name"])
def test_host_without_a_route_is_left_to_gloo(monkeypatch, fails, error):
    monkeypatch.setattr(interface, "socket", Network(error, fails))
    assert interface_to("a-host") is None


def test_interface_of_a_loopback_is_left_to_gloo():
    assert interface_to("127.0.0.1") is interface_to("localhost") is None


@pytest.fixture
def linux(monkeypatch, tmp_path):
    """`linux(first)`: the system gives this address of IPv4, none for None, and lists those of IPv6 in the file that is returned."""
    asked = []
    listed = tmp_path / "if_inet6"
    listed.write_text(IF_INET6)

    def begin(first):
        def answer(probe, request, given):
            asked.append((probe.family, request, given))
            if first is None:
                raise OSError(99, "Cannot assign requested address")
            return given[:20] + ip_address(first).packed + given[24:]

        monkeypatch.setattr(fcntl, "ioctl", answer)
        monkeypatch.setattr(interface, "sys", SimpleNamespace(platform="linux"))
        monkeypatch.setattr(interface, "Path", lambda path: {"/proc/net/if_inet6": listed}[path])
        return listed

    begin.asked = asked
    return begin


def test_addresses_are_those_that_linux_gives(linux):
    linux("198.51.100.3")
    assert interface._addresses("ib0") == set(map(ip_address, ["198.51.100.3", "fe80::2", "2001:db8::2"]))
    interface._addresses("an-interface-of-26-letters")
    requests = [(socket.AF_INET, 0x8915, name + bytes(256 - len(name))) for name in (b"ib0", b"an-interface-of")]
    assert linux.asked == requests  # 15 letters and a zero


def test_interface_may_have_addresses_of_one_kind_alone(linux):
    listed = linux(None)
    assert interface._addresses("lo") == {ip_address("::1")}
    linux("192.0.2.3")
    assert interface._addresses("eth0") == {ip_address("192.0.2.3")}
    listed.unlink()  # a system without IPv6
    assert interface._addresses("ib0") == {ip_address("192.0.2.3")}


def test_other_systems_are_not_asked_as_linux_is(linux, monkeypatch):
    linux("198.51.100.3")
    monkeypatch.setattr(interface, "sys", SimpleNamespace(platform="darwin"))
    assert (interface._addresses("ib0"), linux.asked) == (set(), [])
