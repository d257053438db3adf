"""YAML to plain values, and how what is wrong with it is told."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damd.documents import Document, read_document, write_document
from damd.errors import ConfigurationError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "damd.yaml"


def read(file: Path, text: str | bytes) -> Document:
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_document(file)


def problems(file: Path, text: str | bytes) -> list[str]:
    """What is wrong, without the name of the file, whether or not the rest can be used."""
    try:
        found = read(file, text).problems()
    except ConfigurationError as error:
        found = list(error.problems)
    return [problem.removeprefix(f"{file}:") for problem in found]


@pytest.mark.parametrize(
    "text", ["on", "off", "yes", "no", "y", "0644", "1:30", "1_000", "0x1f", "0o17", "12e3", ".inf", "=", "2001-01-01"]
)
def test_words_and_numbers_that_yaml_1_1_would_change_stay_text(file: Path, text: str) -> None:
    assert read(file, f"key: {text}\n{text}: value").values == {"key": text, text: "value"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("False", False),
        ("", None),
        ("~", None),
        ("null", None),
        ("-12", -12),
        ("0", 0),
        ("1.50", 1.5),
        ("9" * 19, "9" * 19),
        ("!!str 12", "12"),
    ],
)
def test_what_is_plainly_no_text_is_what_it_says(file: Path, text: str, expected: Any) -> None:
    assert read(file, f"key: {text}").values == {"key": expected}


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT.filter(str.isprintable), inner, max_size=4),
    max_leaves=12,
)


@given(values=st.dictionaries(TEXT.filter(str.isprintable), VALUES, max_size=4))
def test_what_is_written_is_read_back_unchanged(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    file = tmp_path_factory.getbasetemp() / "written.yaml"
    document = read(file, write_document(values))

    assert (document.values, document.problems()) == (values, [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("state: /a\nlogging: {}\nstate: /b\n", "3:1: state: is written twice, first on line 1: keep one"),
        ("watch:\n  - path: /a\n    path: /b\n", "3:5: watch.0.path: is written twice, first on line 2: keep one"),
        ("- state\n", "1:1: expected keys and values, such as `state: /var/lib/damd`"),
        ("state\n", "1:1: expected keys and values, such as `state: /var/lib/damd`"),
        ("state: /a\n---\nstate: /b\n", "2:1: a second document begins: keep one"),
        ("a: &x /a\nstate: *x\n", "2:8: this is no YAML for a configuration: aliases (*name) are not used"),
        ("state: !!python/name:os.system x", "1:8: state: tags (!name) are not used: remove it"),
        ("logging: !mine {level: info}", "1:10: logging: tags (!name) are not used: remove it"),
        ("thumbnails: {quality: !!int many}", "1:23: thumbnails.quality: holds characters that are no text"),
        ("state: /a\n\tlogging: {}", "2:1: this is no YAML for a configuration: a tab stands here: indent with blanks"),
        ("state: [", "1:9: this is no YAML for a configuration: "),
        ("state: 'a\nlogging: {}\n", "1:8: this is no YAML for a configuration: quotes are opened, and never closed"),
        ("state: /a\nlogging\nhttp: {}\n", "2:1: this is no YAML for a configuration: expected a colon and a blank"),
        (
            "watch:\n  - path: /a\n     name: b\n",
            "3:10: this is no YAML for a configuration: a key begins in the middle",
        ),
        ('state: "\\UFFFFFFFF"', "1:11: this is not YAML: a number is out of range"),
        ('state: "/\\ud800"', "1:8: state: holds characters that are no text"),
        ('state: "/\\0"', "1:8: state: holds characters that are no text"),
        ("? [a]\n: b\n", "1:3: (unnamed): a key is a word, and this is none"),
        ("state: /a\n  \0", "2:3: YAML does not allow this control character: remove it"),
        (b"state: /a\n#  \xe4rger", "2:4: this is not UTF-8: save the file in that encoding"),
        ("[" * 10_000, "1:33: this is no YAML for a configuration: it is too deep or too long"),
        (
            "watch: [" + "a," * 100_000 + "]",
            "1:40003: this is no YAML for a configuration: it is too deep or too long",
        ),
    ],
)
def test_what_is_no_plain_mapping_is_refused_with_its_place(file: Path, text: str | bytes, expected: str) -> None:
    assert problems(file, text)[0].startswith(expected)


def test_nothing_grows_from_aliases(file: Path) -> None:
    laughs = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10))

    assert "aliases" in problems(file, f"l0: &l0 lol\n{laughs}\n")[0]


def test_a_file_that_is_too_large_is_not_parsed(file: Path) -> None:
    assert problems(file, "#" * (2**20 + 1)) == [" is larger than 1MiB: no configuration is"]


def test_a_file_that_cannot_be_read_is_told_with_the_reason(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "no.yaml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigurationError) as caught:
            read_document(path)
        assert caught.value.problems == (f"{path}: cannot be read: {reason}",)


@pytest.mark.parametrize("value", ["*.tmp", "&.tmp", "!<x"])
def test_what_yaml_has_a_meaning_for_is_told_to_need_quotes(tmp_path: Path, value: str) -> None:
    file = tmp_path / "damd.yaml"
    file.write_text(f"ignore: [{value}]\n")
    with pytest.raises(ConfigurationError, match="need quotes"):
        read_document(file)
