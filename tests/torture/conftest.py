"""What every ordeal may ask for; none runs with ``make test``."""

import faulthandler
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from torture.harness import SCALE, Ordeal

KEEP = "TORTURE_KEEP"
"""Set it, and the folders of an ordeal stay."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder; not pytest's own, which keeps the last three, and a socket's path is short."""
    made = Path(tempfile.mkdtemp(prefix="damd-torture-")).resolve()
    made.chmod(0o755)  # for a daemon of another user
    try:
        yield made
    finally:
        if KEEP not in os.environ:
            shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def ordeal(folder: Path, request: pytest.FixtureRequest) -> Iterator[Ordeal]:
    """A daemon on an empty root, not started yet; its figures are printed at the end."""
    # An ordeal takes longer than any other test may, and has deadlines of its own.
    faulthandler.cancel_dump_traceback_later()
    made = Ordeal(folder)
    try:
        yield made
    finally:
        made.clean_up()
        _print(request, made)


def _print(request: pytest.FixtureRequest, ordeal: Ordeal) -> None:
    figures = "  ".join(f"{name} {value:,.1f}".removesuffix(".0") for name, value in ordeal.figures.items())
    scale = f"  (scale {SCALE:g})" if SCALE != 1 else ""
    text = f"\n{request.node.name}: {figures}{scale}"
    if KEEP in os.environ:
        text += f"\n    kept: {ordeal.folder}"
    capture = request.config.pluginmanager.getplugin("capturemanager")
    reporter = request.config.pluginmanager.getplugin("terminalreporter")
    if capture is not None and reporter is not None:
        with capture.global_and_fixture_disabled():
            reporter.write_line(text)
