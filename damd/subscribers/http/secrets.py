"""Where secrets are found, and what counts as one."""

from __future__ import annotations

import base64
import binascii
import os
import stat
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from damd.settings import AbsolutePath, Settings

_MOST_BYTES = 1024
_PREFIX = "whsec_"
_ADVICE = "make one with: echo whsec_$(openssl rand -base64 32)"


class SecretSource(Settings):
    """Where a secret is found; exactly one key, and the secret itself is never in the configuration."""

    file: AbsolutePath | None = None
    """The file that holds it, and nothing else: damd's user must be able to read it."""
    env: Annotated[str, Field(pattern=r"^[^=\x00]+$")] | None = None
    """The name of an environment variable that holds it."""
    credential: Annotated[str, Field(pattern=r"^[^/\x00]+$")] | None = None
    """The name of a credential that systemd hands to the service: LoadCredential= in systemd.exec(5)."""

    @model_validator(mode="after")
    def _one_source(self) -> SecretSource:
        if sum(source is not None for source in (self.file, self.env, self.credential)) != 1:
            raise ValueError(
                "a secret has exactly one source: "
                "{file: /path/to/it}, {env: NAME_OF_VARIABLE} or {credential: NAME_GIVEN_TO_SYSTEMD}"
            )
        named = (self.file.name if self.file else "", self.env or "", self.credential or "")
        if any(name.startswith(_PREFIX) for name in named):
            # Not quoted: it is the secret itself.
            raise ValueError("this is a secret, not the place where it is found: put it into a file, and name that")
        if self.credential in {".", ".."}:
            raise ValueError("a credential's name is a file's")
        return self

    def __str__(self) -> str:
        if self.file is not None:
            return f"the file {self.file}"
        if self.env is not None:
            return f"the environment variable {self.env}"
        return f"the credential {self.credential}"


def read_secret(source: SecretSource) -> str:
    """A webhook's secret, ``whsec_`` and base64, ready for `standardwebhooks.Webhook`; blocking.

    Raises:
        ValueError: It cannot be had, or is none: 24 to 64 bytes by the standard. The message says what to do,
            and holds nothing of it.
    """
    if source.env is not None:
        text = os.environ.get(source.env)
        if text is None:
            raise ValueError(f"{source} is not set: set it for the process, or name another source")
    else:
        text = _read_file(_file_of(source), str(source))
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError(f"{source} is empty: {_ADVICE}")
    if not text.startswith("whsec_"):
        raise ValueError(f"what {source} holds does not begin with whsec_: {_ADVICE}")
    encoded = text.removeprefix("whsec_")
    encoded += "=" * (-len(encoded) % 4)  # some write it without its padding
    try:
        size = len(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        raise ValueError(f"what {source} holds is not base64 after its whsec_: {_ADVICE}") from None
    if not 24 <= size <= 64:  # the standard's own bounds
        raise ValueError(f"what {source} holds is a secret of {size} bytes, and the standard asks for 24 to 64")
    return f"whsec_{encoded}"


def is_open_to_all(source: SecretSource) -> bool:
    """Whether every user of this machine may read the file that the secret is in; blocking."""
    if source.file is None:
        return False
    try:
        return bool(source.file.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def _file_of(source: SecretSource) -> Path:
    if source.file is not None:
        return source.file
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise ValueError(
            f"{source} needs systemd, and $CREDENTIALS_DIRECTORY is not set: "
            f"put LoadCredential={source.credential}:/path/to/it into the service's unit"
        )
    return Path(folder) / (source.credential or "")


def _read_file(file: Path, where: str) -> str:
    try:
        if not file.is_file():  # a FIFO would be waited for
            what = "is no file" if file.exists() else "does not exist"
            raise ValueError(f"{where} {what}: put the secret there, or correct its name")
        with file.open("rb") as stream:
            return stream.read(_MOST_BYTES).decode("ascii", "replace")
    except OSError as error:
        advice = "let the user that damd runs as read it"
        raise ValueError(f"{where} cannot be read ({error.strerror}): {advice}") from error
