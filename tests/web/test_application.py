"""What each page answers, over real HTTP."""

import json
import re
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs
from web.asked import Asked, get, serving

from damd.errors import CatalogueUnavailableError
from damd.web import pages
from damd.web.application import ROUTES

pytestmark = pytest.mark.anyio

PAGES = ["/healthz", "/readyz", "/metrics", "/status"]
DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


def header(response: object, name: str) -> str:
    found = {key.lower(): value for key, value in response.headers}  # type: ignore[attr-defined]  # of httpcore
    return str(found.get(name.encode(), b"").decode())


def test_the_document_names_every_page() -> None:
    assert set(re.findall(r"^\| `(/\w+)` \|", DOCUMENT.read_text(), re.MULTILINE)) == {route.path for route in ROUTES}


async def test_healthz_says_ok_whatever_the_daemon_would_say() -> None:
    async with serving(Asked(error=RuntimeError("gone"))) as where:
        response = await get(where, "/healthz")
    assert (response.status, response.content) == (200, b"ok\n")


async def test_readyz_says_why_it_is_not_ready() -> None:
    asked = Asked(reasons=["The root nas is not there: mount its disk"])
    async with serving(asked) as where:
        refused = await get(where, "/readyz")
        asked.reasons = []
        ready = await get(where, "/readyz")
    assert (refused.status, json.loads(refused.content)) == (
        503,
        {"ready": False, "reasons": ["The root nas is not there: mount its disk"]},
    )
    assert (ready.status, json.loads(ready.content)) == (200, {"ready": True, "reasons": []})


async def test_readyz_gives_an_unavailable_catalogue_as_its_reason() -> None:
    async with serving(Asked(error=CatalogueUnavailableError("disk full"))) as where:
        response = await get(where, "/readyz")
    assert response.status == 503
    assert json.loads(response.content)["reasons"] == ["The catalogue cannot be used now: disk full"]


async def test_status_is_json_for_every_parser_though_names_are_no_text() -> None:
    root = {"name": "inbox", "path": "/a/caf\udce9\ud800/ü\u2028\x00\x1b[2J"}
    async with serving(Asked(answer={"roots": [root]})) as where:
        response = await get(where, "/status")
    assert header(response, "content-type") == "application/json"
    assert json.loads(response.content.decode("utf-8")) == {
        "roots": [{"name": "inbox", "path": "/a/caf\ufffd\ufffd/ü\u2028\x00\x1b[2J"}]
    }


async def test_every_line_of_the_metrics_parses_in_either_format() -> None:
    async with serving(Asked()) as where:
        plain = await get(where, "/metrics")
        wanted = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
        open_metrics = await get(where, "/metrics", headers=wanted)
        nonsense = await get(where, "/metrics", headers={"accept": "application/openmetrics-text;version=x.y"})
    assert header(plain, "content-type") == "text/plain; version=0.0.4; charset=utf-8"
    assert header(open_metrics, "content-type").startswith("application/openmetrics-text; version=1.0.0")
    assert header(nonsense, "content-type") == header(plain, "content-type")
    families = list(text_string_to_metric_families(plain.content.decode()))
    counted = sum(len(family.samples) for family in families)
    assert counted == len([line for line in plain.content.decode().splitlines() if not line.startswith("#")])
    assert [s.value for f in families for s in f.samples if s.name == "damd_files_waiting"] == [7]
    parsed = parse_openmetrics(open_metrics.content.decode())  # type: ignore[no-untyped-call]  # has no types
    assert "damd_files_waiting" in {family.name for family in parsed}


@pytest.mark.parametrize("page", PAGES)
async def test_head_has_the_headers_of_get_and_other_methods_are_refused(page: str) -> None:
    async with serving(Asked()) as where:
        whole = await get(where, page)
        head = await get(where, page, "HEAD")
        refused = [(await get(where, page, method)).status for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE")]
    assert (head.status, head.content) == (200, b"")
    assert header(head, "content-type") == header(whole, "content-type")
    assert refused == [405] * 5


@pytest.mark.parametrize("path", [*PAGES, "/nothing", "/status/", "/../etc/passwd", "/%ff%00", "/status?" + 99 * "a"])
@pytest.mark.parametrize("error", [None, RuntimeError("secret")])
async def test_no_answer_is_kept_guessed_at_or_given_to_other_sites(path: str, error: Exception | None) -> None:
    with capture_logs():
        async with serving(Asked(error=error)) as where:
            response = await get(where, path, headers={"origin": "https://evil.example"})
    assert header(response, "cache-control") == "no-store"
    assert header(response, "x-content-type-options") == "nosniff"
    assert header(response, "content-security-policy").startswith("default-src 'none'")
    assert header(response, "access-control-allow-origin") == ""
    assert header(response, "server") == ""
    assert header(response, "location") == ""
    assert header(response, "date") != ""
    assert b"Traceback" not in response.content
    assert b"secret" not in response.content


async def test_what_damd_knows_to_be_wrong_is_said_in_one_line_and_logged_in_one() -> None:
    error = CatalogueUnavailableError("connection\nrefused")
    async with serving(Asked(error=error)) as where:
        with capture_logs() as logs:
            response = await get(where, "/status")
    assert response.status == 503
    assert response.content == b"The catalogue cannot be used now: connection refused\n"
    assert logs == [
        {"event": "page cannot be answered", "log_level": "warning", "page": "/status", "error": str(error)}
    ]


async def test_what_nobody_expected_is_for_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    error = RuntimeError("password in here")
    async with serving(Asked(error=error)) as where:
        with capture_logs() as logs:
            response = await get(where, "/metrics")
    assert response.status == 503
    assert response.content == b"damd cannot answer this now: its log says why\n"
    assert logs == [{"event": "page failed", "log_level": "error", "page": "/metrics", "exc_info": error}]
    assert not caplog.records


@pytest.mark.parametrize(
    ("page", "words"), [("/status", b"in time"), ("/metrics", b"in time"), ("/readyz", b"in time")]
)
async def test_who_hangs_is_not_waited_for(page: str, words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "LONGEST_ANSWER_S", 0.01)
    async with serving(Asked(hangs=True)) as where:
        response = await get(where, page)
    assert response.status == 503
    assert words in response.content
