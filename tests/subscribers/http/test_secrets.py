"""Where secrets are found, and what counts as one."""

import base64
import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from subscribers.receiver import SECRET, webhook_settings

from damd.config import Config, config_as_yaml, load_config
from damd.errors import ConfigurationError
from damd.subscribers.http.secrets import SecretSource, is_open_to_all, read_secret


def secret_of(size: int) -> str:
    return "whsec_" + base64.b64encode(bytes(range(size))).decode()


@pytest.mark.parametrize("secret", [secret_of(24), secret_of(64), SECRET, secret_of(25).rstrip("=")])
@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_it_is_read_from_a_file_the_environment_or_a_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str, ending: str
) -> None:
    file = tmp_path / "gallery"
    file.write_bytes((secret + ending).encode())
    monkeypatch.setenv("GALLERY_SECRET", secret + ending)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for source in (SecretSource(file=file), SecretSource(env="GALLERY_SECRET"), SecretSource(credential="gallery")):
        assert read_secret(source).rstrip("=") == secret.rstrip("=")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "does not exist: put the secret there, or correct its name"),
        ("", "is empty: make one with"),
        ("\n", "is empty: make one with"),
        (SECRET.removeprefix("whsec_"), "does not begin with whsec_: make one with"),
        ("whsec_sesame sesame!", "is not base64 after its whsec_: make one with"),
        (SECRET + "\n\n", "is not base64"),
        (SECRET + "ü", "is not base64"),
        (secret_of(23), "is a secret of 23 bytes, and the standard asks for 24 to 64"),
        (secret_of(65), "is a secret of 65 bytes, and the standard asks for 24 to 64"),
        ("whsec_" + "A" * 100_000, "and the standard asks for 24 to 64"),
    ],
)
def test_what_is_none_is_refused_and_not_told(tmp_path: Path, content: str | None, what: str) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="the file") as caught:
        read_secret(SecretSource(file=file))
    message = str(caught.value)
    assert str(file) in message
    assert what in message
    assert not content or not content.strip() or content.strip().removeprefix("whsec_") not in message


def test_a_folder_is_no_secret(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no file"):
        read_secret(SecretSource(file=tmp_path))


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GALLERY_SECRET", raising=False)
    with pytest.raises(ValueError, match="the environment variable GALLERY_SECRET is not set"):
        read_secret(SecretSource(env="GALLERY_SECRET"))


def test_a_credential_without_systemd_says_what_to_write_into_the_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ValueError, match="put LoadCredential=gallery:/path/to/it into the service's unit"):
        read_secret(SecretSource(credential="gallery"))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(ValueError, match="the credential gallery does not exist"):
        read_secret(SecretSource(credential="gallery"))


@pytest.mark.parametrize(
    "source",
    [
        {},
        {"file": "/a", "env": "A"},
        {"env": "A", "credential": "a"},
        {"credential": "../a"},
        {"credential": "/etc/passwd"},
        {"credential": ".."},
        {"credential": ""},
        {"env": ""},
        {"env": "A=B"},
        {"whsec": SECRET},
    ],
)
def test_there_is_exactly_one_source_with_a_name_that_can_be_one(source: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        SecretSource.model_validate(source)


@pytest.mark.parametrize("source", [{"file": f"/etc/{SECRET}"}, {"env": SECRET}, {"credential": SECRET}])
def test_a_secret_in_the_place_of_its_source_is_told_as_that_and_not_repeated(tmp_path: Path, source: object) -> None:
    config = tmp_path / "damd.yaml"
    webhook = {"kind": "webhook", "name": "gallery", "url": "https://a", "secret": source}
    config.write_text(json.dumps({"subscribers": [webhook]}))
    with pytest.raises(ConfigurationError, match="this is a secret, not the place where it is found") as caught:
        load_config(config)
    assert SECRET not in str(caught.value)


def test_a_file_that_everybody_may_read_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    file.chmod(0o644)
    assert is_open_to_all(SecretSource(file=file))
    file.chmod(0o640)
    assert not is_open_to_all(SecretSource(file=file))
    assert not is_open_to_all(SecretSource(file=tmp_path / "missing"))
    assert not is_open_to_all(SecretSource(env="HOME"))


def test_the_configuration_that_is_shown_names_sources_only(tmp_path: Path) -> None:
    settings = webhook_settings(tmp_path, "https://damd:sesame@gallery.example/", previous_secret={"env": "OLD"})
    shown = config_as_yaml(Config(subscribers=(settings,)))
    assert str(tmp_path / "webhook.secret") in shown
    assert "env: OLD" in shown
    for text in (shown, repr(settings), str(settings)):
        assert "sesame" not in text
        assert SECRET.removeprefix("whsec_") not in text
