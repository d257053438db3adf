"""The command line: arguments to calls, and errors to exit codes; a further command is a file and a line here."""

from damd.cli.application import application, main
from damd.cli.assets import assets
from damd.cli.completion import completion
from damd.cli.configuration import configuration
from damd.cli.doctor import doctor
from damd.cli.duplicates import duplicates
from damd.cli.events import events
from damd.cli.explain import explain
from damd.cli.failures import failures
from damd.cli.ingest import ingest
from damd.cli.pausing import pause, resume
from damd.cli.refresh import refresh
from damd.cli.reloading import reload
from damd.cli.roots import roots
from damd.cli.run import run
from damd.cli.scanning import scan
from damd.cli.status import status
from damd.cli.systemd import systemd
from damd.cli.waiting import wait
from damd.cli.webhooks import webhooks

application.command()(run)
application.command()(ingest)
application.command()(status)
application.command()(pause)
application.command()(resume)
application.command()(scan)
application.command()(wait)
application.command()(reload)
application.command()(explain)
application.command()(duplicates)
application.command()(refresh)
application.command()(doctor)
application.command()(completion)
application.add_typer(assets, name="assets")
application.add_typer(events, name="events")
application.add_typer(failures, name="failures")
application.add_typer(roots, name="roots")
application.add_typer(webhooks, name="webhooks")
application.add_typer(configuration, name="config")
application.add_typer(systemd, name="systemd")

__all__ = ["main"]
