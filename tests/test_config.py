"""From YAML to Config, and every way in which that is refused."""

import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from damd.config import Config, LoggingSettings, config_as_yaml, load_config
from damd.errors import ConfigurationError
from damd.subscribers import SUBSCRIBERS
from damd.subscribers.log import LogSettings
from damd.subscribers.webhook import WebhookSettings

WEBHOOK = """
subscribers:
  - {kind: webhook, name: gallery, url: "https://u:hunter2@gallery.example/hooks/@me", secret: {env: GALLERY_SECRET}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "damd.yaml"


def problems(file: Path, text: str | bytes) -> list[str]:
    """What `load_config` finds wrong, without the name of the file."""
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigurationError) as caught:
        load_config(file)
    assert all(problem.startswith(f"{file}:") for problem in caught.value.problems)
    return [problem.removeprefix(f"{file}:") for problem in caught.value.problems]


def load(file: Path, text: str) -> Config:
    file.write_text(text)
    return load_config(file)


class TestDefaults:
    def test_no_file_at_all_is_a_configuration(self) -> None:
        config = load_config()

        assert config.watch == ()
        assert config.subscribers == (LogSettings(),)
        assert config.logging == LoggingSettings(level="info", format="auto")
        assert config.ingest.timeout == timedelta(seconds=60)

    @pytest.mark.parametrize("text", ["", "# only words\n", "---\n", "\ufeff", "{}"])
    def test_an_empty_file_is_all_defaults(self, file: Path, text: str) -> None:
        assert load(file, text) == load_config()

    @pytest.mark.parametrize(
        ("environment", "expected"),
        [
            ({"STATE_DIRECTORY": "/var/lib/damd:/var/lib/other", "XDG_DATA_HOME": "/data"}, "/var/lib/damd"),
            ({"XDG_DATA_HOME": "/data"}, "/data/damd"),
            ({"XDG_DATA_HOME": "relative/is/ignored"}, "/home/someone/.local/share/damd"),
            ({}, "/home/someone/.local/share/damd"),
        ],
    )
    def test_the_state_is_the_services_folder_or_the_users(
        self, monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], expected: str
    ) -> None:
        for name in ("STATE_DIRECTORY", "XDG_DATA_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"HOME": "/home/someone", **environment}.items():
            monkeypatch.setenv(name, value)

        assert load_config().state == Path(expected)

    def test_the_command_line_replaces_keys_of_the_file(self, file: Path) -> None:
        file.write_text("state: /a\nwatch: [{path: /b, settle: 1s}]\nlogging: {level: debug}\n")
        config = load_config(file, overrides={"state": Path("/c"), "watch": [{"path": "/d"}]})

        assert config.state == Path("/c")
        assert [root.path for root in config.watch] == [Path("/d")]
        assert config.watch[0].settle == timedelta(milliseconds=500)
        assert config.logging.level == "debug"

    def test_problems_of_the_command_line_are_told_by_its_options(self, file: Path) -> None:
        file.write_text("watch: 5\nlogin: {}\n")
        with pytest.raises(ConfigurationError) as caught:
            load_config(file, overrides={"state": "", "watch": [{"path": "/a"}, {"path": "/a/b"}]})

        assert caught.value.problems == (
            "--state: expected a path, such as ~/Pictures/inbox",
            "--watch: /a/b lies in /a, and roots cannot overlap: remove one of them",
            f"{file}:2:1: login: is not a known key: did you mean logging?",
        )


class TestProblems:
    def test_all_are_told_at_once_in_the_order_of_the_file(self, file: Path) -> None:
        text = """
watch:
  - path: /a/inbox
    setle: 5s
    settle: 5
  - name: other
    backend: magic
  - path: /b/inbox
    recursive: perhaps
    rescan: 1ms
    ignore: "*.tmp"
ingest: {workers: many, memory: 3MiB, timeout: 0s, max_pixels:}
thumbnails: {sizes: [], format: webp, quality: 101}
subscribers:
  - {kind: smoke}
  - {}
  - log
  - {kind: webhook, url: ftp://x, secret: {file: /a, env: B}, name: "a b"}
plugins: {a: b}
logging: info
webserver: {listen: 127.0.0.1:8420}
"""
        assert problems(file, text) == [
            "4:5: watch.0.setle: is not a known key: did you mean settle?",
            "5:13: watch.0.settle: a duration is written with its units: 500ms, 15m, 1h30m, 7d",
            "6:5: watch.1.path: is missing, and has no default",
            "7:14: watch.1.backend: expected auto, native or polling",
            "9:16: watch.2.recursive: expected true or false",
            "10:13: watch.2.rescan: a root cannot be scanned more often than every 1s",
            "11:13: watch.2.ignore: expected a list, such as [first, second]",
            "12:19: ingest.workers: expected auto, or a whole number",
            "12:33: ingest.memory: must be at least 256MiB",
            "12:48: ingest.timeout: must be more than 0s",
            "12:63: ingest.max_pixels: has no value: write one, or leave it out",
            "13:21: thumbnails.sizes: has too few entries; the least is 1",
            "13:48: thumbnails.quality: must be at most 100",
            "15:12: subscribers.0.kind: is not a known kind of subscriber; the known kinds are: command, log, webhook",
            "16:5: subscribers.1.kind: is missing; the known kinds are: command, log, webhook",
            "17:5: subscribers.2: expected an entry such as {kind: log}; the known kinds are: command, log, webhook",
            "18:26: subscribers.3.url: expected a URL such as https://gallery.example/hooks/damd",
            (
                "18:43: subscribers.3.secret: a secret has exactly one source: "
                "{file: /path/to/it}, "
                "{env: NAME_OF_VARIABLE} or {credential: NAME_GIVEN_TO_SYSTEMD}"
            ),
            (
                "18:69: subscribers.3.name: holds characters that are not allowed here; "
                "the pattern is ^[A-Za-z0-9._][A-Za-z0-9._-]*$"
            ),
            "19:10: plugins: expected a list, such as [first, second]",
            "20:10: logging: expected keys and values, such as {key: value}",
            (
                "21:1: webserver: is not a known key; those known here are: state, watch, catalogue, ingest, "
                "thumbnails, similarity, events, subscribers, plugins, logging, http"
            ),
        ]

    def test_what_is_no_plain_yaml_is_told_once_beside_the_rest(self, file: Path) -> None:
        assert problems(file, "logging: !mine {}\nstate: /a\nplugins: 7\nstate: /b\n") == [
            "1:10: logging: tags (!name) are not used: remove it",
            "3:10: plugins: expected a list, such as [first, second]",
            "4:1: state: is written twice, first on line 2: keep one",
        ]

    def test_a_key_without_a_value_says_so(self, file: Path) -> None:
        assert problems(file, "watch:\n#  - path: /a\n") == ["1:7: watch: has no value: write one, or leave it out"]

    def test_unknown_keys_of_an_entry_are_compared_with_those_of_its_kind(self, file: Path) -> None:
        text = "subscribers:\n  - {kind: log, evnts: []}\n" + WEBHOOK.replace("subscribers:\n", "").replace(
            "{env:", "{enw:"
        )

        assert problems(file, text)[:2] == [
            "2:17: subscribers.0.evnts: is not a known key: did you mean events?",
            problems(file, text)[1],
        ]
        assert "subscribers.1.secret.enw: is not a known key: did you mean env?" in problems(file, text)[1]

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("watch: [{path: /a, recursive: on}]", "1:31: watch.0.recursive: expected true or false"),
            ("watch: [{path: /a, recursive: 1}]", "1:31: watch.0.recursive: expected true or false"),
            ("watch: [{path: /a, settle: 1:30}]", "7d; 1:30 is one of 1h30m and 1m30s"),
            ("watch: [{path: /a, settle: 90}]", "a duration is written with its units: 500ms, 15m, 1h30m, 7d"),
            ("ingest: {memory: 2048}", "1:18: ingest.memory: a size is written with its unit: 512MiB, 2GiB"),
            ("thumbnails: {quality: 0644}", "thumbnails.quality: expected a whole number in plain digits, without"),
            ("thumbnails: {quality: 0_8}", "thumbnails.quality: expected a whole number in plain digits, without"),
            ("thumbnails: {quality: true}", "thumbnails.quality: expected a whole number in plain digits, without"),
            ("thumbnails: {sizes: [512, 0512]}", "1:27: thumbnails.sizes.1: expected a whole number in plain digits"),
            ("ingest: {workers: 010}", "ingest.workers: expected a whole number in plain digits"),
            ("subscribers: [{kind: log, keep: 007}]", "1:33: subscribers.0.keep: expected a whole number in plain"),
            ("thumbnails: {quality: 999999999999999999999}", "thumbnails.quality: must be at most 100"),
            ("watch: [{path: /a, settle:}]", "1:27: watch.0.settle: has no value: write one, or leave it out"),
        ],
    )
    def test_what_other_programs_would_make_something_else_of_is_told(
        self, file: Path, text: str, expected: str
    ) -> None:
        (problem,) = problems(file, text)

        assert expected in problem

    def test_a_number_or_a_truth_in_quotes_is_one(self, file: Path) -> None:
        config = load(file, "thumbnails: {quality: '70'}\nwatch: [{path: /a, recursive: 'false'}]\n")

        assert (config.thumbnails.quality, config.watch[0].recursive) == (70, False)

    def test_a_key_in_the_wrong_section_is_told_the_right_one(self, file: Path) -> None:
        assert problems(file, "distance: 3\nthumbnails:\n  logging: {}\n  timeout: 3s\n  colour: red\n") == [
            "1:1: distance: is not a known key here: it belongs to similarity",
            "3:3: thumbnails.logging: is not a known key here: it belongs to the top level",
            "4:3: thumbnails.timeout: is not a known key here: it belongs to ingest or an entry of subscribers",
            "5:3: thumbnails.colour: is not a known key; those known here are: sizes, format, quality",
        ]

    @pytest.mark.parametrize(
        "text",
        [
            "catalogue: {url: mysql://damd:hunter2@db/damd}",
            "catalogue: {url: postgresql+psycopg://damd:xy@hunter2@db/damd}",
            "catalogue: {url: [postgresql+psycopg://damd:hunter2@db/damd]}",
            "catalogue: {postgresql+psycopg://damd:hunter2@db/damd}",
            "catalogue: postgresql+psycopg://damd:hunter2@db/damd",
            "catalogue: {url: postgresql+psycopg://damd:hunter2@db/damd",
            "catalogue: {url: postgresql+psycopg://damd:hunter2@db/damd}: x",
            'subscribers: [{kind: webhook, name: a, secret: {env: A}, url: "https://u:hunter2@\u2100"}]',
            'subscribers: [{kind: webhook, name: a, secret: {env: A}, url: "https://hunter2@[::1"}]',
            "subscribers: [{kind: webhook, name: a, secret: hunter2, url: 'https://a'}]",
        ],
    )
    def test_a_password_is_never_quoted(self, file: Path, text: str) -> None:
        assert "hunter2" not in str(problems(file, text))

    def test_what_a_problem_refers_to_is_text(self, file: Path) -> None:
        assert problems(file, "watch: [{path: /a, name: 7}]") == [
            "1:26: watch.0.name: expected text: put it in quotes if it looks like something else"
        ]


class TestRoots:
    def test_a_root_is_named_after_its_folder(self, file: Path) -> None:
        paths = ["/a/inbox", "/a/Fotos für Oma (neu)", "/a/...", "/b/" + "x" * 100]
        config = Config.model_validate({"watch": [{"path": path} for path in paths]})

        assert list(config.roots) == ["inbox", "Fotos-für-Oma-neu-", "root", "x" * 64]
        assert [root.path for root in config.roots.values()] == [Path(path) for path in paths]
        assert Config.model_validate({"watch": [{"path": "/"}], "state": "/s"}).watch[0].name == "root"

    @pytest.mark.parametrize(
        ("roots", "expected"),
        [
            ("{path: /a/in}, {path: /b/in}", "watch.1.name: /b/in and /a/in are both called in: name one of them diff"),
            ("{path: /a, name: x}, {path: /b, name: x}", "watch.1.name: /b and /a are both called x: name one of them"),
            ("{path: /a}, {path: /a/../a/}", "watch.1.path: /a is the same folder as /a: remove one of them"),
            ("{path: /a}, {path: /a/b}", "watch.1.path: /a/b lies in /a, and roots cannot overlap: remove one of them"),
            (
                "{path: /a/b}, {path: /a}",
                "watch.1.path: /a contains /a/b, and roots cannot overlap: remove one of them",
            ),
        ],
    )
    def test_roots_share_neither_a_name_nor_a_folder(self, file: Path, roots: str, expected: str) -> None:
        (problem,) = problems(file, f"watch: [{roots}]")

        assert problem.split(": ", 1)[1].startswith(expected)

    def test_folders_that_only_look_alike_are_different_roots(self) -> None:
        assert len(load_config(overrides={"watch": [{"path": "/a/in"}, {"path": "/a/in-2"}]}).roots) == 2

    def test_a_symbolic_link_into_another_root_is_seen_through(self, tmp_path: Path) -> None:
        (tmp_path / "real" / "below").mkdir(parents=True)
        (tmp_path / "link").symlink_to("real/below")
        (tmp_path / "loop").symlink_to("loop")

        assert load_config(overrides={"watch": [{"path": tmp_path / "loop"}]}).roots
        with pytest.raises(ConfigurationError, match="roots cannot overlap"):
            load_config(overrides={"watch": [{"path": tmp_path / "real"}, {"path": tmp_path / "link"}]})

    def test_the_state_may_lie_in_a_root_but_not_the_other_way_round(self, file: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "in")

        assert load(file, "state: /a/in/.damd\nwatch: [{path: /a/in}]").state == Path("/a/in/.damd")
        assert problems(file, f"state: {tmp_path}/link\nwatch: [{{path: {tmp_path}/in}}]") == [
            f"1:8: state: the watched root {tmp_path}/in lies in {tmp_path}/link: keep damd's own files apart from it"
        ]
        assert problems(file, "state: /a\nwatch: [{path: /a/in}]") == [
            "1:8: state: the watched root /a/in lies in /a: keep damd's own files apart from it"
        ]


class TestSubscribers:
    def test_each_entry_is_made_of_its_kinds_settings(self, file: Path) -> None:
        config = load(file, WEBHOOK + "  - {kind: log, events: [file.imported]}\n")

        assert isinstance(config.subscribers[0], WebhookSettings)
        assert config.subscribers[1] == LogSettings(events=("file.imported",))

    def test_two_webhooks_cannot_share_a_name(self, file: Path) -> None:
        text = WEBHOOK + WEBHOOK.replace("\nsubscribers:\n", "")

        assert problems(file, text) == [
            "4:27: subscribers.1.name: another subscriber is called gallery too: give each its own name"
        ]


class TestPlugins:
    @pytest.fixture
    def plugin(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        yield tmp_path / "damd_test_plugin.py"
        sys.modules.pop("damd_test_plugin", None)
        SUBSCRIBERS.pop("smoke", None)

    def test_a_plugin_brings_a_kind_of_subscriber(self, file: Path, plugin: Path) -> None:
        plugin.write_text(
            "from typing import Literal\n"
            "from damd.settings import Settings\n"
            "from damd.subscribers import SUBSCRIBERS\n"
            "class SmokeSettings(Settings):\n"
            "    kind: Literal['smoke'] = 'smoke'\n"
            "    puffs: int = 1\n"
            "class Smoke:\n"
            "    kind, settings_type, durable = 'smoke', SmokeSettings, False\n"
            "SUBSCRIBERS['smoke'] = Smoke\n"
            "def setup(world): ...\n"
        )
        config = load(file, "subscribers: [{kind: smoke, puffs: 3}]\nplugins: [damd_test_plugin]\n")

        assert config.subscribers[0].model_dump() == {"kind": "smoke", "puffs": 3}
        assert "puffs: 3" in config_as_yaml(config)
        assert problems(file, "subscribers: [{kind: smoke, pufs: 3}]\nplugins: [damd_test_plugin]\n") == [
            "1:29: subscribers.0.pufs: is not a known key: did you mean puffs?"
        ]

    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            (None, "cannot be loaded (ModuleNotFoundError: No module named 'damd_test_plugin'): install it"),
            ("def setup(world:", "cannot be loaded (SyntaxError: "),
            ("1 / 0", "cannot be loaded (ZeroDivisionError: division by zero)"),
            ("raise SystemExit(3)", "cannot be loaded (SystemExit: 3)"),
            ("setup = 3", "has no plain function setup(world)"),
        ],
    )
    def test_a_plugin_that_cannot_be_used_is_one_problem_among_others(
        self, file: Path, plugin: Path, source: str | None, expected: str
    ) -> None:
        if source is not None:
            plugin.write_text(source)
        first, second = problems(file, "logging: {level: loud}\nplugins: [damd_test_plugin]\n")

        assert first == "1:18: logging.level: expected debug, info, warning or error"
        assert second.startswith(f"2:11: plugins.0: the plugin damd_test_plugin {expected}")

    def test_those_of_a_running_daemon_stay_and_no_other_is_imported(self, file: Path, plugin: Path) -> None:
        plugin.write_text("1 / 0")
        file.write_text("plugins: [damd_test_plugin]\nlogging: {level: loud}\n")
        with pytest.raises(ConfigurationError) as caught:
            load_config(file, imported=[])
        assert caught.value.problems == (
            f"{file}:1:10: plugins: the plugins cannot be changed while damd runs: restart it",
            f"{file}:2:18: logging.level: expected debug, info, warning or error",
        )
        file.write_text("plugins: [damd_test_plugin, another]\n")

        assert load_config(file, imported={"another", "damd_test_plugin"}).plugins == ("damd_test_plugin", "another")
        with pytest.raises(ConfigurationError, match="plugins: the plugins cannot be changed"):
            load_config(imported=["another"])

    @pytest.mark.parametrize("name", ["''", ".relative", "a..b", "3", "[os]"])
    def test_what_is_no_modules_name_is_refused(self, file: Path, name: str) -> None:
        assert problems(file, f"plugins: [{name}]")[0].startswith("1:11: plugins.0: ")


ROOTS = st.builds(
    lambda number, settle, ignore, recursive: {
        "path": f"/r/{number}", "settle": timedelta(milliseconds=settle), "ignore": ignore, "recursive": recursive
    },
    st.integers(0, 10**6),
    st.integers(0, 10**9),
    st.lists(st.sampled_from(["*.tmp", "a/", "on", "1:30", "0644", "!x", "null", "~", "ü", "- a", "a: b", "{", "*"])),
    st.booleans(),
)  # fmt: skip


class TestShown:
    @settings(max_examples=50, deadline=None)
    @given(
        roots=st.lists(ROOTS, max_size=3, unique_by=lambda root: str(root["path"])),
        memory=st.integers(2**28, 2**40),
        name=st.from_regex(r"\A[a-z0-9_.][a-z0-9_.-]{0,19}\Z").filter(lambda name: name.strip(".") != ""),
    )
    def test_what_is_shown_can_be_loaded_and_means_the_same(
        self, tmp_path_factory: pytest.TempPathFactory, roots: list[dict[str, Any]], memory: int, name: str
    ) -> None:
        named = [*roots, {"path": "/named", "name": name}]
        unique = len({str(root.get("name", str(root["path"]).removeprefix("/r/"))) for root in named}) == len(named)
        config = Config.model_validate(
            {
                "watch": named if unique else roots,
                "ingest": {"memory": f"{memory}B"},
                "subscribers": [
                    {"kind": "log", "events": ["file.imported"]},
                    {"kind": "webhook", "name": name, "url": "https://a/b", "secret": {"file": "/s"}},
                ],
            }
        )
        file = tmp_path_factory.getbasetemp() / "shown.yaml"
        file.write_text(config_as_yaml(config))

        assert load_config(file) == config

    def test_the_arguments_of_a_command_are_not_shown(self, file: Path) -> None:
        command = '{kind: command, name: tell, command: [/bin/tell, "--token", hunter2]}'
        shown = config_as_yaml(load(file, f"subscribers: [{command}]"))

        assert "hunter2" not in shown
        assert "/bin/tell" in shown

    def test_a_path_whose_bytes_are_no_text_is_shown_and_read_back(self, file: Path) -> None:
        config = load_config(overrides={"watch": [{"path": "/in/a\udcffb", "name": "in"}]})

        assert load(file, config_as_yaml(config)) == config

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("postgresql+psycopg://damd:hunter2@db/damd", "postgresql+psycopg://damd:***@db/damd"),
            ("postgresql+psycopg://damd:hunt/er2@db/damd", "postgresql+psycopg://damd:***@db/damd"),
            (
                "postgresql+psycopg://db/damd?x=1&password=hunter2&y=2",
                "postgresql+psycopg://db/damd?x=1&password=***&y=2",
            ),
            ("postgresql+psycopg://damd@db:5432/damd", "postgresql+psycopg://damd@db:5432/damd"),
        ],
    )
    def test_the_databases_password_is_masked(self, url: str, shown: str) -> None:
        config = load_config(overrides={"catalogue": {"url": url}})

        assert yaml.safe_load(config_as_yaml(config))["catalogue"] == {"url": shown}

    def test_durations_and_sizes_are_in_their_units_and_secrets_stay_where_they_are(self, file: Path) -> None:
        text = config_as_yaml(load(file, WEBHOOK + "watch: [{path: /a}]\n"))

        assert "settle: 500ms" in text
        assert "memory: 2GiB" in text
        assert "max_pixels: 500M" in text
        assert "https://u:***@gallery.example/hooks/@me" in text
        assert "env: GALLERY_SECRET" in text
        token = WEBHOOK.replace("/hooks/@me", "/hooks/@me?token=hunter3#hunter4")
        assert "/hooks/@me?***" in (shown := config_as_yaml(load(file, token)))
        assert "hunter" not in shown
        assert "http://a:8080/@b" in config_as_yaml(
            load(file, WEBHOOK.replace("https://u:hunter2@gallery.example/hooks/@me", "http://a:8080/@b"))
        )
