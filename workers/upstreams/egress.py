"""Where connections may go. An address is judged when it is connected to: no later answer of a name server counts."""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Final, TypeAlias

import httpx

from workers.upstreams.upstream import Denied, Unavailable

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

METADATA: Final = tuple(
    map(ip_network, ["169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32", "fd00:ec2::/32"])
)
"""Where clouds tell a machine its own secrets. Most are private anyhow; one is not."""
_EMBEDDING: Final = ip_network("64:ff9b::/96"), ip_network("::/96")
_NEVER: Final = tuple(map(ip_network, ["64:ff9b:1::/48", "2001::/32", "fec0::/10"]))


class Egress:
    """Judges addresses. `allowed` are the operator's networks that are not public but may be reached.

    `authorities` is a PEM file of those that the operator trusts to certify upstreams, besides the public ones.
    """

    def __init__(self, allowed: Sequence[Network] = (), authorities: Path | None = None) -> None:
        self._allowed = tuple(allowed)
        self.authorities = authorities

    def listed(self, address: Address) -> bool:
        """Whether the operator allowed it by name of its network."""
        return any(address.version == network.version and address in network for network in self._allowed)

    def permits(self, address: Address) -> bool:
        """Public addresses, and listed ones. An IPv4 address within an IPv6 one counts as itself."""
        inner = _inner(address)
        if self.listed(address) or self.listed(inner):
            return True
        refused = (*METADATA, *_NEVER)
        if any(each.version == network.version and each in network for network in refused for each in (address, inner)):
            return False
        return inner.is_global and not inner.is_multicast and not inner.is_reserved

    async def resolve(self, host: str, port: int) -> list[Address]:
        """Addresses of the host, all of them permitted. Raises Denied, Unavailable."""
        try:
            found = [ip_address(host.strip("[]"))]
        except ValueError:
            found = await _asked(host, port)
        if refused := [str(address) for address in found if not self.permits(address)]:
            raise Denied("upstream.address-refused", host=host, addresses=refused)
        return found


def _inner(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if any(address in network for network in _EMBEDDING) and int(address) > 1:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


async def _asked(host: str, port: int) -> list[Address]:
    try:
        answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable("upstream.unreachable", host=host, why="the name does not resolve") from error
    return list(dict.fromkeys(ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers))


class GuardedTransport(httpx.AsyncBaseTransport):
    """Connects to the very addresses that were judged, with TLS verified for the name that was asked for.

    Every host has connections of its own: two names of one address do not share a certificate's word.
    """

    def __init__(self, egress: Egress, limits: httpx.Limits) -> None:
        self._egress = egress
        self._limits = limits
        self._trust = httpx.create_ssl_context(trust_env=False)
        if egress.authorities is not None:
            self._trust.load_verify_locations(egress.authorities)
        self._by_host: dict[str, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Tries each address in turn. Raises Denied besides what httpx raises."""
        host, port = request.url.host, request.url.port or (443 if request.url.scheme == "https" else 80)
        addresses = await self._egress.resolve(host, port)
        if request.url.scheme != "https" and not all(self._egress.listed(_inner(each)) for each in addresses):
            raise Denied("upstream.address-refused", host=host, why="only https leaves the operator's own networks")
        transport = self._by_host.get(host)
        if transport is None:
            transport = self._by_host[host] = httpx.AsyncHTTPTransport(
                verify=self._trust, trust_env=False, limits=self._limits
            )
        for left, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
            aimed = httpx.Request(
                request.method,
                request.url.copy_with(host=str(address)),
                headers=request.headers,
                stream=request.stream,
                extensions=request.extensions | {"sni_hostname": host},
            )
            try:
                return await transport.handle_async_request(aimed)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if not left:
                    raise
        raise AssertionError("a name has an address, or does not resolve")

    async def aclose(self) -> None:
        """Closes every connection."""
        for transport in self._by_host.values():
            await transport.aclose()
