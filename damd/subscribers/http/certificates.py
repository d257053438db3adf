"""Whose word a receiver's certificate is taken on."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpcore


def client_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """A context that verifies certificates and names, by the system's authorities; blocking.

    Where the system has none, by those of the package certifi.

    Args:
        ca_file: A PEM file of further authorities.

    Raises:
        ValueError: It cannot be read, or holds none; says what to do.
    """
    paths = ssl.get_default_verify_paths()
    context = ssl.create_default_context() if paths.cafile or paths.capath else httpcore.default_ssl_context()
    if ca_file is not None:
        add_authorities(context, ca_file)
    return context


def add_authorities(context: ssl.SSLContext, ca_file: Path) -> None:
    """Trust those in this PEM file too; blocking.

    Raises:
        ValueError: As `client_context`.
    """
    try:
        if not ca_file.is_file():  # a FIFO would be waited for
            what = "is no file" if ca_file.exists() else "does not exist"
            raise ValueError(f"the file {ca_file} {what}: name the PEM file of the receiver's authority")
        context.load_verify_locations(ca_file)
    except ssl.SSLError:
        raise ValueError(f"the file {ca_file} holds no certificate: name the PEM file of an authority") from None
    except OSError as error:
        advice = "let the user that damd runs as read it"
        raise ValueError(f"the file {ca_file} cannot be read ({error.strerror}): {advice}") from error
