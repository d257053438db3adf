"""A URL, taken apart."""

import base64

import pytest

from damd.subscribers.http.targets import Target, parse_target


@pytest.mark.parametrize(
    ("url", "target", "authority"),
    [
        ("https://a.example", Target("https", "a.example", 443, "/", None), "a.example"),
        ("HTTP://A.Example:8080/Hook?x=1&y=%20#z", Target("http", "a.example", 8080, "/Hook?x=1&y=%20", None), None),
        ("https://a.example:443/a b".replace(" ", "%20"), Target("https", "a.example", 443, "/a%20b", None), None),
        ("http://[::1]:80/", Target("http", "::1", 80, "/", None), "[::1]"),
        ("http://[::1]:81/", Target("http", "::1", 81, "/", None), "[::1]:81"),
        ("https://straße.example/é?q=ü", Target("https", "xn--strae-oqa.example", 443, "/%C3%A9?q=%C3%BC", None), None),
    ],
)
def test_it_has_these_parts(url: str, target: Target, authority: str | None) -> None:
    assert parse_target(url) == target
    assert authority is None or parse_target(url).authority == authority


def test_a_user_and_a_password_become_a_header_that_is_not_shown() -> None:
    target = parse_target("https://d%40md:ses%2Fame%21@gallery.example/hook")
    assert target.authorization == "Basic " + base64.b64encode(b"d@md:ses/ame!").decode()
    assert target.authority == "gallery.example"
    assert repr(target) == "Target(https://gallery.example)"


@pytest.mark.parametrize(
    "url",
    [
        "gallery",
        "ftp://gallery/",
        "https://",
        "https://:443/",
        "https://.example/",
        "http://a:0/",
        "http://a:99999/",
        "http://a:b/",
        "http://[::1",
        "https://a..é/",
    ],
)
def test_what_is_none_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected a URL such as https://"):
        parse_target(url)


@pytest.mark.parametrize("url", ["http://a/\x01", "http://a/\r\nx: y", " http://a/", "http://a/b c", "http://a/\u2028"])
def test_what_would_not_arrive_as_it_was_written_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no spaces and no control characters"):
        parse_target(url)
