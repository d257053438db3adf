"""The guide's workflow, a command and its handler per file; a further one is a file beside this and a line here."""

from damd.ingest.ingest_file import handle_ingest_file
from damd.ingest.process_by_hash import handle_process_by_hash
from damd.ingest.refresh_asset import handle_refresh_asset

HANDLERS = (handle_ingest_file, handle_process_by_hash, handle_refresh_asset)
