"""Every metric, named once, by Prometheus' rules for names: base units, ``_total`` for what only grows.

Labels are bounded: a root's name or an endpoint's, never a path. The numbers are asked for when somebody looks, so that
counting costs nothing while nobody does.
"""

from damd.metrics.exposition import exposition, exposition_for
from damd.metrics.numbers import EndpointNumbers, Histogram, Numbers, Outbox, RootNumbers

__all__ = ["EndpointNumbers", "Histogram", "Numbers", "Outbox", "RootNumbers", "exposition", "exposition_for"]
