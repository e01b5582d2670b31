"""Which addresses images may come from, and connections that refuse private networks."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager

from ml_backend.errors import FetchError, SettingsError

Permission = Literal["named", "public"]

_DEFAULT_PORTS = {"http": 80, "https": 443}


class PrivateAddress(OSError):
    """A host that is allowed only by a pattern leads into a private or reserved network."""


class HostRules:
    """Decides whether images may be fetched from a host.

    Parameters
    ----------
    own : str
        Address of Label Studio; its host and port are allowed.
    patterns : iterable of str
        ``host`` (ports 80 and 443), ``host:port``, ``*.domain`` (its subdomains) or ``*``. Named
        hosts may lie in private networks; hosts that only a pattern with ``*`` allows may not.

    Raises
    ------
    SettingsError
        A pattern is no host.
    """

    def __init__(self, own: str, patterns: Iterable[str] = ()) -> None:
        self._own = _host_port(urlsplit(own))
        self._exact: set[tuple[str, int]] = {self._own}
        self._suffixes: list[str] = []
        self._any = False
        for pattern in patterns:
            # "https://host/" is a common slip for "host".
            text = pattern.strip().lower().removeprefix("http://").removeprefix("https://")
            text = text.rstrip("/")
            if text == "*":
                self._any = True
            elif text.startswith("*."):
                self._suffixes.append(text[1:])
            elif text:
                try:
                    parts = urlsplit(f"//{text}")
                    host = (parts.hostname or "").rstrip(".")
                    ports = (parts.port,) if parts.port else tuple(_DEFAULT_PORTS.values())
                except ValueError as error:
                    raise SettingsError(
                        f"GALAXYLOOP_IMAGE_HOSTS holds {pattern!r}, which is no host ({error}). "
                        "Write host, host:port, *.domain or *."
                    ) from None
                self._exact |= {(host, port) for port in ports}

    def is_label_studio(self, parts: SplitResult) -> bool:
        """Whether the address leads to Label Studio itself."""
        return _host_port(parts) == self._own

    def permission(self, parts: SplitResult) -> Permission | None:
        """Return "named", "public" (only in public networks), or None: not allowed."""
        host, port = _host_port(parts)
        if (host, port) in self._exact:
            return "named"
        if port not in _DEFAULT_PORTS.values():
            return None
        if self._any or any(host.endswith(suffix) for suffix in self._suffixes):
            return "public"
        return None


def is_public(address: str) -> bool:
    """Whether an IP address lies in the public internet (also when wrapped in IPv6)."""
    try:
        ip = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return inner.is_global and not inner.is_multicast
    return ip.is_global and not ip.is_multicast


def session(permission: Permission) -> requests.Session:
    """Make a session; for "public" one that refuses private addresses when it connects.

    The check is made on the connected socket, so a name that resolves differently the second time
    does not pass. Such a session uses no proxy, which would hide where it leads.
    """
    made = requests.Session()
    if permission == "public":
        made.trust_env = False
        made.mount("http://", _GuardedAdapter())
        made.mount("https://", _GuardedAdapter())
    return made


def split_address(address: str) -> SplitResult:
    """Split an address; refuse (`FetchError`) what programs read in different ways."""
    if re.search(r"[\x00-\x20\x7f\\]", address):
        raise FetchError(f"{shown(address)} holds a backslash or control character.")
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError as error:
        raise FetchError(f"{shown(address)} is no valid address: {error}.") from None
    if parts.username is not None or parts.password is not None:
        raise FetchError("An image address may not hold a user name or password.")
    if ".." in unquote(unquote(parts.path)).split("/"):
        raise FetchError(f"{shown(address)} holds '..'; write the address without it.")
    return parts


def shown(address: str) -> str:
    """Return an address as it may stand in a message: no query (signatures), no user, not long."""
    bare = re.sub(r"//[^/@]*@", "//", address.split("?")[0].split("#")[0])
    return repr(bare if len(bare) <= 120 else bare[:117] + "...")


def _host_port(parts: SplitResult) -> tuple[str, int]:
    host = (parts.hostname or "").rstrip(".").lower()
    return host, parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)


def _refuse_private(connection: socket.socket) -> socket.socket:
    peer = connection.getpeername()[0]
    if not is_public(peer):
        connection.close()
        raise PrivateAddress(f"it leads to {peer}, a private or reserved address")
    return connection


class _GuardedHTTP(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _refuse_private(super()._new_conn())


class _GuardedHTTPS(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _refuse_private(super()._new_conn())


class _GuardedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _GuardedHTTP


class _GuardedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _GuardedHTTPS


class _GuardedAdapter(HTTPAdapter):
    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **kw: Any
    ) -> None:
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **kw)
        self.poolmanager.pool_classes_by_scheme = {
            "http": _GuardedHTTPPool,
            "https": _GuardedHTTPSPool,
        }
