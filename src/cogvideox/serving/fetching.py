"""Pictures from addresses that clients name: only public ones, resolved once, and connected to as they were checked."""

import contextlib
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from urllib.parse import urljoin, urlsplit

from cogvideox.serving.errors import ApiError

TIMEOUT_S = 10.0
MAX_REDIRECTS = 3
PORT = 443
BLOCK_BYTES = 2**16
TUNNELS = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))
"""NAT64, 6to4 and Teredo: they lead to addresses of the older kind, whatever those are."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
REDIRECTS = (301, 302, 303, 307, 308)

Resolve = Callable[[str], Sequence[str]]


def fetch(
    url: str,
    *,
    is_allowed: bool,
    domains: Sequence[str],
    max_bytes: int,
    param: str,
    resolve: Resolve | None = None,
    context: ssl.SSLContext | None = None,
) -> bytes:
    """Return what is at an address.

    Args:
        url: of https.
        is_allowed: whether anything is fetched at all.
        domains: the only ones, with all below them; empty is any.
        max_bytes: of the content.
        param: what to name in messages.
        resolve: returns the addresses of a name; for tests.
        context: of TLS; for tests.

    Raises:
        ApiError: it is not allowed, leads to where nobody outside should reach, or cannot be had.
    """
    if _scheme(clean(url, param)) not in ("https", "http"):
        raise ApiError("remote_fetch_blocked", f"{param}: expected an address of https, or data:", param=param)
    if not is_allowed:
        raise ApiError("remote_fetch_disabled", f"{param}: this server fetches nothing; send the file", param=param)
    end_s = time.monotonic() + TIMEOUT_S
    for _ in range(MAX_REDIRECTS + 1):
        host, path = public_host(url, domains, param)
        address = _public_address(host, resolve or resolved, param)
        content, location = _get(host, address, path, max_bytes, end_s, param, context)
        if location is None:
            return content
        try:
            url = urljoin(url, clean(location, param))
        except ValueError:  # brackets that are none
            break
    raise ApiError("remote_fetch_blocked", f"{param}: it leads to no address, or to too many others", param=param)


def _scheme(url: str) -> str:
    """Return the scheme of an address; empty if it is none."""
    try:
        return urlsplit(url).scheme.lower()
    except ValueError:
        return ""


def clean(url: str, param: str) -> str:
    """Return an address as it is. Raises ApiError if it has marks that no address has."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ApiError("remote_fetch_blocked", f"{param}: it is no address", param=param)
    return url


def public_host(url: str, domains: Sequence[str], param: str) -> tuple[str, str]:
    """Return host and path. Raises ApiError unless it is an address of https that can be a public server's."""
    blocked = ApiError("remote_fetch_blocked", f"{param}: only https addresses of public servers", param=param)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise blocked from None
    host = (parts.hostname or "").rstrip(".").lower()
    if parts.scheme.lower() != "https" or port not in (None, PORT) or parts.username is not None:
        raise blocked
    # Numbers as hosts: browsers and C libraries read many forms of them, as 0x7f000001.
    if not _NAME.fullmatch(host) or "." not in host or not host.rsplit(".", 1)[1].strip("0123456789-"):
        raise blocked
    if domains and not any(host == domain or host.endswith(f".{domain}") for domain in domains):
        raise blocked
    return host, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def is_public(address: str) -> bool:
    """Whether an address is of the open network, and of nothing that leads elsewhere."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    is_tunnel = parsed.version == 6 and any(parsed in network for network in TUNNELS)
    if is_tunnel or getattr(parsed, "ipv4_mapped", None) is not None:
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def resolved(host: str) -> list[str]:
    """Return the addresses of a host. Raises OSError if it has none."""
    found = socket.getaddrinfo(host, PORT, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def _public_address(host: str, resolve: Resolve, param: str) -> str:
    """Return an address of a host. Raises ApiError unless all that it has are public."""
    try:
        addresses = list(resolve(host))
    except OSError:
        addresses = []
    if not addresses or not all(map(is_public, addresses)):
        raise ApiError("remote_fetch_blocked", f"{param}: only https addresses of public servers", param=param)
    return addresses[0]


def _get(
    host: str, address: str, path: str, max_bytes: int, end_s: float, param: str, context: ssl.SSLContext | None
) -> tuple[bytes, str | None]:
    """Return the content, or where it is instead."""
    failed = ApiError("remote_fetch_blocked", f"{param}: it could not be fetched", param=param)
    connection = PinnedConnection(host, address, end_s, context)
    try:
        connection.request("GET", path, headers={"Accept": "image/*", "Accept-Encoding": "identity"})
        response = connection.getresponse()
        if response.status in REDIRECTS:
            location = response.getheader("location")
            if location is None:
                raise failed
            return b"", location
        if response.status != 200:
            raise failed
        content = bytearray()
        while block := response.read1(BLOCK_BYTES):
            content += block
            if len(content) > max_bytes:
                raise ApiError("media_too_large", f"{param}: expected at most {max_bytes} bytes", param=param)
        if time.monotonic() >= end_s or response.length:  # it was cut, by us or on the way
            raise failed
        return bytes(content), None
    except (OSError, http.client.HTTPException):
        raise failed from None
    finally:
        connection.end()


class PinnedConnection(http.client.HTTPSConnection):
    """A connection to the address that was checked, by the name that was asked for, cut when its time is over."""

    def __init__(
        self,
        host: str,
        address: str,
        end_s: float,
        context: ssl.SSLContext | None,
        *,
        port: int = PORT,
        is_plain: bool = False,
    ) -> None:
        """Plan a connection until a time of the monotonic clock; ``is_plain`` is without TLS. Call `end` after it."""
        self._tls = None if is_plain else context or ssl.create_default_context()
        super().__init__(host, port, timeout=TIMEOUT_S, context=self._tls or context)
        self._address, self._end_s = address, end_s
        self._wire: socket.socket | None = None
        self._watchdog: threading.Timer | None = None

    def connect(self) -> None:
        """Connect, without asking for the name again."""
        raw = socket.create_connection((self._address, self.port), timeout=max(self._end_s - time.monotonic(), 0.1))
        self.sock = raw
        # The base class lets go of its socket before an answer is read, and TLS has no other until it is agreed upon.
        self._wire = raw.dup()
        # Limits of sockets are for each read: a server that sends a byte now and then would hold us.
        self._watchdog = threading.Timer(max(self._end_s - time.monotonic(), 0.1), self._cut)
        self._watchdog.daemon = True
        self._watchdog.start()
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(raw, server_hostname=self.host)

    def end(self) -> None:
        """Let go of everything."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        self.close()
        if self._wire is not None:
            self._wire.close()

    def _cut(self) -> None:
        if self._wire is not None:
            with contextlib.suppress(OSError):
                self._wire.shutdown(socket.SHUT_RDWR)
