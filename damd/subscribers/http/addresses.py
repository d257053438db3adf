"""Which addresses may be connected to, and why not; pure.

Who answers for a name may answer with any address at all, so what is judged is the address that is connected
to, never the name, and never the spelling: an IPv4 address within an IPv6 address is judged as itself.

Endpoints on the local network are normal for a daemon whose operator writes them down. What no webhook is
ever sent to: link-local addresses (RFC 3927, RFC 4291), and the metadata services of the clouds, which hand
out credentials to whoever asks from the machine itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_METADATA = tuple(
    ip_network(each)
    for each in (
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:42::42",
        "fd00:100::100:200",
        "fd00:a9fe:a9fe::1",
        "fd00:c1::a9fe:a9fe",
        "fd00:ec2::/32",
        "fd20:ce::254",
    )
)
"""Those that are not link-local, by the documentation of their vendors.

- Alibaba: https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata (100.100.100.200 and
  fd00:100::100:200)
- Azure, its WireServer: https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
- Oracle: https://docs.oracle.com/iaas/Content/Compute/Tasks/gettingmetadata.htm (fd00:c1::a9fe:a9fe), and
  192.0.0.192 in its Classic cloud
- Scaleway: https://cloudinit.readthedocs.io/en/latest/reference/datasources/scaleway.html (fd00:42::42)
- Akamai (Linode): https://techdocs.akamai.com/cloud-computing/docs/metadata-service-api (fd00:a9fe:a9fe::1)
- Amazon: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html and
  https://docs.aws.amazon.com/eks/latest/userguide/pod-identities.html (fd00:ec2::254, fd00:ec2::23: its block)
- Google: https://cloud.google.com/compute/docs/metadata/querying-metadata (fd20:ce::254)
"""

_NOT_GLOBAL = tuple(ip_network(each) for each in ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20", "5f00::/16"))
"""By IANA's registries of special addresses, though Python 3.11 does not know it of all of them yet."""

_THIS_NETWORK = ip_network("0.0.0.0/8")  # RFC 1122; a system takes the first of them for itself
_BROADCAST = IPv4Address("255.255.255.255")
_COMPATIBLE = ip_network("::/96")  # RFC 4291, deprecated
_TRANSLATED = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))  # NAT64: RFC 6052, RFC 8215


def why_refused(address: str, *, deny_private: bool = False) -> str | None:
    """What speaks against connecting to this address, such as ``it is link-local``; None: nothing.

    Args:
        address: As the system spells it, with its zone or without.
        deny_private: Whether to refuse all that is not global too: private networks and this machine itself.

    Raises:
        ValueError: It is no address.
    """
    reasons = (_why_refused(each, deny_private=deny_private) for each in _meant(ip_address(address)))
    return next(filter(None, reasons), None)


def _meant(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address | IPv6Address]:
    """Where the packets would arrive: the IPv4 addresses within an IPv6 address, or the address itself."""
    if isinstance(address, IPv4Address):
        yield address
        return
    low = IPv4Address(int(address) & 0xFFFF_FFFF)
    is_compatible = address in _COMPATIBLE and int(address) > 1  # :: and ::1 are themselves
    if is_compatible or address.ipv4_mapped is not None or any(address in network for network in _TRANSLATED):
        yield low
    elif address.sixtofour is not None:  # RFC 3056
        yield address.sixtofour
    elif address.teredo is not None:  # RFC 4380: the server and the client
        yield from address.teredo
    else:
        yield address


def _why_refused(address: IPv4Address | IPv6Address, *, deny_private: bool) -> str | None:
    if address.is_link_local:
        return "it is link-local, where clouds have their metadata"
    if any(address in network for network in _METADATA):
        return "it is a cloud's metadata service"
    if address.is_unspecified or address in _THIS_NETWORK:
        return "it is no host's address"
    if address.is_multicast or address == _BROADCAST:
        return "it is not one host's address"
    if deny_private and not _is_global(address):
        return "it is not a public address, and deny_private is set"
    return None


def _is_global(address: IPv4Address | IPv6Address) -> bool:
    # To Python, site-local addresses (RFC 3879) and unassigned ranges are global.
    is_site_local = isinstance(address, IPv6Address) and address.is_site_local
    is_special = is_site_local or address.is_reserved or any(address in network for network in _NOT_GLOBAL)
    return address.is_global and not is_special
