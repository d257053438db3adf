"""The command line: arguments to calls, and errors to exit codes; a further command is a file and a line here."""

from damd.cli.application import application, main
from damd.cli.assets import assets
from damd.cli.configuration import configuration
from damd.cli.doctor import doctor
from damd.cli.duplicates import duplicates
from damd.cli.events import events
from damd.cli.explain import explain
from damd.cli.failures import failures
from damd.cli.ingest import ingest
from damd.cli.refresh import refresh
from damd.cli.roots import roots
from damd.cli.run import run
from damd.cli.status import status
from damd.cli.webhooks import webhooks

application.command()(run)
application.command()(ingest)
application.command()(status)
application.command()(explain)
application.command()(duplicates)
application.command()(refresh)
application.command()(doctor)
application.add_typer(assets, name="assets")
application.add_typer(events, name="events")
application.add_typer(failures, name="failures")
application.add_typer(roots, name="roots")
application.add_typer(webhooks, name="webhooks")
application.add_typer(configuration, name="config")

__all__ = ["main"]
