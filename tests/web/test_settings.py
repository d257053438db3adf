"""Where HTTP may listen."""

import pytest
from pydantic import ValidationError

from damd.web.settings import HttpSettings, split_listen


@pytest.mark.parametrize(
    ("listen", "split"),
    [
        ("127.0.0.1:8420", ("127.0.0.1", 8420)),
        ("localhost:1", ("127.0.0.1", 1)),
        ("[::1]:65535", ("::1", 65535)),
        ("[0:0:0:0:0:0:0:1]:0", ("::1", 0)),
    ],
)
def test_an_address_and_a_port_are_told_apart(listen: str, split: tuple[str, int]) -> None:
    assert split_listen(HttpSettings(listen=listen).listen) == split


@pytest.mark.parametrize(
    "listen",
    ["8420", ":8420", "127.0.0.1", "::1:8420", "[::1]", "127.0.0.1:65536", "example.org:80", "127.0.0.1:80\n", "1:-1"],
)
def test_anything_else_is_refused_with_an_example(listen: str) -> None:
    with pytest.raises(ValidationError, match=r"such as 127\.0\.0\.1:8420 or \[::1\]:8420"):
        HttpSettings(listen=listen)
