"""Three hundred configurations that somebody broke, one way or another: each is told by its line and key."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from command_line import run_damd
from test_config_example import SOURCE

from damd.config import load_config
from damd.documents import read_document
from damd.errors import ConfigurationError

LINES = [line for line in SOURCE.splitlines() if line.strip() and not line.lstrip().startswith("#")]
MOST_ATTEMPTS = 400
OF_EACH_KIND = 13  # of 24 kinds

Mutation = Callable[[Random, list[str]], str | bytes]


def of_a_line(change: Callable[[Random, str], str]) -> Mutation:
    """One line of them is changed."""

    def mutation(random: Random, lines: list[str]) -> str:
        index = random.randrange(len(lines))
        return "\n".join([*lines[:index], change(random, lines[index]), *lines[index + 1 :]])

    return mutation


def of_a_value(*values: str) -> Mutation:
    """The value behind one key becomes one of these; ``{}`` in it stands for what was there."""

    def change(random: Random, line: str) -> str:
        found = re.match(r"(?P<key>[ -]*\w+: )(?P<value>.+)", line)
        if found is None:
            return line
        return found["key"] + random.choice(values).replace("{}", found["value"], 1)

    return of_a_line(change)


def misspelt(random: Random, line: str) -> str:
    found = re.match(r"(?P<before>[ -]*)(?P<key>\w+)(?P<after>:.*)", line)
    assert found is not None
    place = random.randrange(len(found["key"]))
    key = random.choice([found["key"][:place] + found["key"][place + 1 :], found["key"] + "x", found["key"].upper()])
    return found["before"] + key + found["after"]


def inserted(*texts: str) -> Callable[[Random, str], str]:
    def change(random: Random, line: str) -> str:
        place = random.randrange(len(line) + 1)
        return line[:place] + random.choice(texts) + line[place:]

    return change


def bad_bytes(random: Random, lines: list[str]) -> bytes:
    content = "\n".join(lines).encode()
    place = random.randrange(len(content))
    return content[:place] + random.choice([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xfe\xff"]) + content[place:]


def truncated(random: Random, lines: list[str]) -> str:
    text = "\n".join(lines)
    return text[: random.randrange(len(text))]


def exchanged(random: Random, lines: list[str]) -> str:
    one, other = random.sample(range(len(lines)), 2)
    lines[one], lines[other] = lines[other], lines[one]
    return "\n".join(lines)


def joined(random: Random, lines: list[str]) -> str:
    index = random.randrange(len(lines) - 1)
    lines[index] += random.choice([" ", ", ", ""]) + lines.pop(index + 1)
    return "\n".join(lines)


MUTATIONS: dict[str, Mutation] = {
    "a line is missing": of_a_line(lambda _random, _line: ""),
    "a line is there twice": of_a_line(lambda _, line: f"{line}\n{line}"),
    "a line is indented": of_a_line(lambda random, line: " " * random.randint(1, 5) + line),
    "a line is indented less": of_a_line(lambda random, line: line.removeprefix(" " * random.randint(1, 2))),
    "a tab indents a line": of_a_line(lambda _, line: "\t" + line.lstrip(" ")),
    "two lines are exchanged": exchanged,
    "two lines are one": joined,
    "the end is missing": truncated,
    "a key is misspelt": of_a_line(misspelt),
    "a colon is missing": of_a_line(lambda _, line: line.replace(":", "", 1)),
    "a blank is missing": of_a_line(lambda _, line: line.replace(": ", ":", 1)),
    "a value is missing": of_a_value("", "null", "~"),
    "a value is of another type": of_a_value("[]", "{}{}", "true", "12", "1.5", "text", "[[1]]", "{a: b}", "'12'"),
    "a unit is wrong": of_a_value("5 minutes", "5y", "512mb", "10 percent", "10%%", "5", "1h 30m", "2 GiB 3", "MiB"),
    "a number is huge": of_a_value("9" * 30, "9" * 400 + "d", "9" * 5000 + "GiB", "9" * 20 + "M", "1e999"),
    "a number is negative": of_a_value("-1", "-5s", "-1GiB", "-10%", "-0.5"),
    "YAML 1.1 has a meaning for it": of_a_value("on", "yes", "1:30", "0644", "1_000", "0x1f", ".inf", "2001-01-01"),
    "a quote is too many": of_a_value('"{}', "'{}", "'{}''", '"{}" x', '"\\x{}"'),
    "a bracket is too many": of_a_line(inserted("[", "]", "{", "}")),
    "an anchor, alias or tag": of_a_value("*x", "&x {}", "!x {}", "!!int {}", "!!python/name:os.system x", "<<"),
    "a control character": of_a_line(inserted("\0", "\x07", "\x1b", "\x7f", "\ufffe")),
    "bytes that are no text": bad_bytes,
    "another document begins": of_a_line(lambda _, line: f"---\n{line}"),
    "a variable that is not there": of_a_value("${NO_SUCH}/a", "$HOME/a", "${HOME", "/a/${}", "~no-such-user/a"),
}


def told(file: Path, content: str | bytes) -> tuple[str, ...]:
    """The problems; none when it is a configuration."""
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    try:
        load_config(file, environment={})
    except ConfigurationError as error:
        return error.problems
    return ()


def malformed(file: Path, kind: str) -> Iterator[tuple[str | bytes, tuple[str, ...]]]:
    """Different ones of a kind, the same at every run, each of them in the file while it is looked at."""
    random = Random(f"seed of {kind}")  # noqa: S311 - nothing secret is made of it
    seen: set[str | bytes] = set()
    for _ in range(MOST_ATTEMPTS):
        content = MUTATIONS[kind](random, list(LINES))
        if content not in seen and (problems := told(file, content)):
            yield content, problems
        seen.add(content)


def is_yaml(file: Path) -> bool:
    try:
        read_document(file)
    except ConfigurationError:
        return False
    return True


def test_what_is_broken_here_was_right_before(tmp_path: Path) -> None:
    assert told(tmp_path / "damd.yaml", "\n".join(LINES)) == ()
    assert len(MUTATIONS) * OF_EACH_KIND >= 300


@pytest.mark.parametrize("kind", MUTATIONS)
def test_each_problem_names_file_line_and_key(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "damd.yaml"
    count = 0
    for content, problems in malformed(file, kind):
        key = r"(?:[\w .+-]|\(unnamed\))+: " if is_yaml(file) else ""
        for problem in problems:
            found = re.fullmatch(rf"{re.escape(str(file))}:([1-9]\d*):[1-9]\d*: {key}\S.*", problem)
            assert found, problem
            assert int(found[1]) <= len(content.splitlines()) + 1
        count += 1
        if count == OF_EACH_KIND:
            break
    assert count == OF_EACH_KIND


@pytest.mark.parametrize("kind", MUTATIONS)
def test_the_command_line_tells_it_and_ends_with_78(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "damd.yaml"
    _, problems = next(malformed(file, kind))
    refused = run_damd("config", "check", "--config", file)
    assert (refused.code, refused.out) == (78, "")
    assert refused.err == "".join(f"{problem}\n" for problem in problems)
