"""What the environment says of the configuration, before the command line has the last word."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damd.config import Config, load_config
from damd.errors import ConfigurationError
from damd.workers import environment as environment_of_workers


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "damd.yaml"


def load(file: Path, text: str = "", **environment: str) -> Config:
    file.write_text(text)
    return load_config(file, environment=environment)


def problems(file: Path, text: str = "", **environment: str) -> list[str]:
    """What is wrong, without the name of the file."""
    with pytest.raises(ConfigurationError) as caught:
        load(file, text, **environment)
    return [problem.removeprefix(f"{file}:") for problem in caught.value.problems]


class TestValues:
    def test_a_variable_replaces_what_the_file_says_and_an_option_replaces_both(self, file: Path) -> None:
        file.write_text("state: /file\nthumbnails: {quality: 60, format: png}\n")
        environment = {"DAMD__STATE": "/variable", "DAMD__THUMBNAILS__QUALITY": "70"}
        config = load_config(file, environment=environment)

        assert (config.state, config.thumbnails.quality, config.thumbnails.format) == (Path("/variable"), 70, "png")
        assert load_config(file, environment=environment, overrides={"state": "/option"}).state == Path("/option")

    def test_without_a_file_there_is_the_environment(self) -> None:
        assert load_config(environment={"DAMD__LOGGING__LEVEL": "debug"}).logging.level == "debug"

    def test_the_processs_own_is_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DAMD__LOGGING__LEVEL", "warning")

        assert load_config().logging.level == "warning"
        assert load_config(environment={}).logging.level == "info"

    def test_values_are_yaml_in_the_dialect_of_the_file(self, file: Path) -> None:
        config = load(
            file,
            DAMD__THUMBNAILS__SIZES="[512, 1024]",
            DAMD__WATCH="[{path: /a, recursive: false, ignore: ['*.tmp', on]}]",
        )

        assert config.thumbnails.sizes == (512, 1024)
        assert (config.watch[0].recursive, config.watch[0].ignore) == (False, ("*.tmp", "on"))

    def test_a_number_is_an_index_and_one_behind_the_last_appends(self, file: Path) -> None:
        config = load(
            file,
            "watch: [{path: /a, settle: 1s}]\n",
            DAMD__WATCH__10__PATH="/k",
            DAMD__WATCH__2__PATH="/c",
            DAMD__WATCH__1__PATH="/b",
            DAMD__WATCH__0__NAME="first",
            **{f"DAMD__WATCH__{index}__PATH": f"/{index}" for index in range(3, 10)},
        )

        assert [str(root.path) for root in config.watch] == ["/a", "/b", "/c", *(f"/{n}" for n in range(3, 10)), "/k"]
        assert (config.watch[0].name, config.watch[0].settle) == ("first", timedelta(seconds=1))

    def test_what_is_missing_above_a_value_is_made(self, file: Path) -> None:
        config = load(
            file,
            "http:\n",
            DAMD__HTTP__LISTEN="127.0.0.1:99",
            DAMD__SUBSCRIBERS__0__KIND="log",
            DAMD__SUBSCRIBERS__0__EVENTS__0="file.failed",
        )

        assert config.http is not None
        assert config.http.listen == "127.0.0.1:99"
        assert [entry.model_dump()["events"] for entry in config.subscribers] == [("file.failed",)]

    def test_other_variables_are_nobodys_business(self, file: Path) -> None:
        assert load(file, DAMD_QUALITY="1", damd__thumbnails__quality="1", DAMD="x") == load(file)

    def test_workers_do_not_see_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DAMD__CATALOGUE__URL", "postgresql+psycopg://damd:hunter2@db/damd")

        assert not [name for name in environment_of_workers() if name.startswith("DAMD")]


class TestProblems:
    def test_they_are_told_by_the_variable_before_the_files(self, file: Path) -> None:
        assert problems(
            file,
            "thumbnails: {quality: 300, format: gif}\n",
            DAMD__THUMBNAILS__QUALITY="101",
            DAMD__THUMBNALS__QUALITY="1",
            DAMD__THUMBNAILS__SIZE="1",
            DAMD__WATCH__0__NAME="a",
            DAMD__SUBSCRIBERS="[{kind: log, evnts: []}]",
            DAMD__INGEST__WORKERS="",
            DAMD__SIMILARITY__DISTANCE="010",
        ) == [
            "$DAMD__INGEST__WORKERS: has no value: write one, or leave it out",
            "$DAMD__SIMILARITY__DISTANCE: expected a whole number in plain digits, without leading zeros or _",
            "$DAMD__SUBSCRIBERS: subscribers.0.evnts: is not a known key: did you mean events?",
            "$DAMD__THUMBNAILS__QUALITY: must be at most 100",
            "$DAMD__THUMBNAILS__SIZE: is not a known key: did you mean sizes?",
            "$DAMD__THUMBNALS__QUALITY: thumbnals: is not a known key: did you mean thumbnails?",
            "$DAMD__WATCH__0__NAME: watch.0.path: is missing, and has no default",
            "1:36: thumbnails.format: expected webp, jpeg or png",
        ]

    @pytest.mark.parametrize(
        "value", ["[hunter2", "'hunter2", "a: hunter2: b", "!hunter2!x y", "*hunter2", "hunter2\udcff"]
    )
    def test_what_is_no_yaml_is_told_by_the_variable_and_never_quoted(self, file: Path, value: str) -> None:
        (problem,) = problems(file, DAMD__CATALOGUE__URL=value)

        assert problem.startswith("$DAMD__CATALOGUE__URL: ")
        assert "hunter2" not in problem

    @pytest.mark.parametrize("value", ["!hunter2 x", "{a: 1, a: hunter2}", "mysql://damd:hunter2@db", "[hunter2]"])
    def test_no_value_is_quoted_when_it_is_refused(self, file: Path, value: str) -> None:
        found = problems(file, DAMD__CATALOGUE__URL=value)

        assert found[0].startswith("$DAMD__CATALOGUE__URL: ")
        assert "hunter2" not in str(found)

    @pytest.mark.parametrize(
        ("environment", "expected"),
        [
            (
                {"DAMD__THUMBNAILS": "5", "DAMD__THUMBNAILS__QUALITY": "70"},
                "$DAMD__THUMBNAILS__QUALITY: sets what $DAMD__THUMBNAILS sets, too: keep one of them",
            ),
            (
                {"DAMD__STATE": "/a", "DAMD__state": "/b"},
                "$DAMD__state: sets what $DAMD__STATE sets, too: keep one of them",
            ),
            (
                {"DAMD__WATCH__2__PATH": "/x"},
                "$DAMD__WATCH__2__PATH: watch is a list of 1 entry: count them from 0; 1 appends one",
            ),
            (
                {"DAMD__WATCH__PATH": "/x"},
                "$DAMD__WATCH__PATH: watch is a list of 1 entry: count them from 0; 1 appends one",
            ),
            (
                {"DAMD__WATCH__0__PATH__X": "/x"},
                "$DAMD__WATCH__0__PATH__X: watch.0.path is a plain value, and nothing in it can be set",
            ),
            ({"DAMD__": "x"}, "$DAMD__: names no key: write it as DAMD__SECTION__KEY"),
            ({"DAMD__STATE__": "x"}, "$DAMD__STATE__: names no key: write it as DAMD__SECTION__KEY"),
            ({"DAMD____STATE": "x"}, "$DAMD____STATE: names no key: write it as DAMD__SECTION__KEY"),
            ({"DAMD__0": "/x"}, "$DAMD__0: 0: is not a known key; those known here are: state, watch"),
        ],
    )
    def test_a_variable_that_can_set_nothing_is_told_why(
        self, file: Path, environment: dict[str, str], expected: str
    ) -> None:
        assert any(each.startswith(expected) for each in problems(file, "watch: [{path: /a}]\n", **environment))

    def test_a_value_that_is_no_yaml_is_told_once(self, file: Path) -> None:
        assert problems(file, "watch: [{path: /a}]\n", DAMD__WATCH__0__PATH="[") == [
            "$DAMD__WATCH__0__PATH: this is no YAML for a configuration: expected a value"
        ]


PARTS = st.sampled_from(
    ["WATCH", "0", "1", "PATH", "SUBSCRIBERS", "KIND", "SECRET", "THUMBNAILS", "SIZES", "http", "", "9" * 9]
)
NAMES = st.lists(PARTS, max_size=4).map(lambda parts: "DAMD__" + "__".join(parts))
VALUES = st.sampled_from(
    ["", "/a", "log", "[]", "{}", "[512]", "{path: /a}", "{kind: log}", "[{}]", "5", "[", "!x y", "\0"]
)


@given(environment=st.dictionaries(NAMES, VALUES | st.text(), max_size=5))
def test_any_environment_is_a_configuration_or_problems_told_by_its_variables(environment: dict[str, str]) -> None:
    found: tuple[str, ...] = ()
    try:
        load_config(environment=environment, overrides={"plugins": []})
    except ConfigurationError as error:
        found = error.problems or ("problems that nobody tells of",)

    assert all(problem.startswith("$DAMD__") for problem in found)
