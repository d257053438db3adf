"""What is looked at before damd runs, and by who asks how it fares; a further check is a file and a line here."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from damd.checks.catalogue import look_at_catalogue
from damd.checks.descriptors import look_at_descriptors
from damd.checks.findings import Check
from damd.checks.listening import look_at_listening
from damd.checks.mounting import look_at_mounting
from damd.checks.reading import look_at_reading
from damd.checks.roots import look_at_roots
from damd.checks.state import look_at_state
from damd.checks.subscribers import look_at_subscribers
from damd.checks.watches import look_at_watches
from damd.units.installed import Service


def checks(service: Service | None) -> Mapping[str, Check]:
    """What needs nothing but the configuration, by what it is called should it fail itself; in the order of telling.

    Args:
        service: The service that starts the configuration.
    """
    return {
        "state": look_at_state,
        "catalogue": look_at_catalogue,
        "roots": look_at_roots,
        "mounts": look_at_mounting,
        "reading": look_at_reading,
        "inotify": look_at_watches,
        "subscribers": functools.partial(look_at_subscribers, service=service),
        "http": look_at_listening,
        "open files": look_at_descriptors,
    }
