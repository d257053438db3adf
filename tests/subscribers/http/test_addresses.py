"""Which addresses may be connected to."""

import pytest

from damd.subscribers.http.addresses import why_refused

ALWAYS = {
    "link-local": ["169.254.169.254", "169.254.0.1", "169.254.170.2", "fe80::1", "fe80::1%eth0", "febf::1"],
    "metadata": [
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:42::42",
        "fd00:100::100:200",
        "fd00:a9fe:a9fe::1",
        "fd00:c1::a9fe:a9fe",
        "fd00:ec2::23",
        "fd00:ec2::254",
        "fd20:ce::254",
    ],
    "no host's": ["0.0.0.0", "0.1.2.3", "::"],  # noqa: S104 - nothing is bound
    "not one host's": ["224.0.0.1", "239.255.255.250", "255.255.255.255", "ff02::1", "ff0e::1"],
}
WITHIN_IPV6 = [
    "::ffff:169.254.169.254",  # mapped
    "::a9fe:a9fe",  # compatible
    "2002:a9fe:a9fe::1",  # 6to4
    "64:ff9b::169.254.169.254",  # NAT64
    "64:ff9b:1::169.254.169.254",
    "2001:0:a9fe:a9fe::",  # Teredo: its server
    "2001:0:808:808:0:ffff:5601:5601",  # Teredo: its client, inverted
    "::ffff:100.100.100.200",
    "::ffff:0.0.0.0",
    "::ffff:255.255.255.255",
]
PRIVATE = [
    "127.0.0.1",
    "127.255.0.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "192.0.0.8",
    "198.18.0.1",
    "240.0.0.1",
    "::1",
    "fd12::1",
    "fec0::1",
    "2001:db8::1",
    "3fff::1",
    "4000::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::10.0.0.1",
    "2002:a00:1::1",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]


@pytest.mark.parametrize("deny_private", [False, True])
@pytest.mark.parametrize("address", [each for group in ALWAYS.values() for each in group] + WITHIN_IPV6)
def test_some_are_always_refused(address: str, deny_private: bool) -> None:
    assert why_refused(address, deny_private=deny_private)


@pytest.mark.parametrize(("what", "address"), [(what, each) for what, group in ALWAYS.items() for each in group])
def test_the_reason_says_what_it_is(what: str, address: str) -> None:
    assert what in (why_refused(address) or "")


@pytest.mark.parametrize("address", PRIVATE)
def test_private_ones_are_refused_where_that_is_asked_for(address: str) -> None:
    assert why_refused(address) is None
    assert "deny_private" in (why_refused(address, deny_private=True) or "")


@pytest.mark.parametrize("address", PUBLIC)
def test_public_ones_never_are(address: str) -> None:
    assert why_refused(address) is None
    assert why_refused(address, deny_private=True) is None


@pytest.mark.parametrize("name", ["localhost", "0x7f.1", "2852039166", "", "[::1]"])
def test_what_is_no_address_is_an_error(name: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the library's own words
        why_refused(name)
