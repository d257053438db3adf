"""Every metric, named once, by Prometheus' rules for names: base units, ``_total`` for what only grows.

Labels are bounded: a root's name or an endpoint's, never a path. The numbers are asked for when somebody looks, so that
counting costs nothing while nobody does; nor is `damd.metrics.exposition` imported before, which takes its time.
"""

from damd.metrics.numbers import EndpointNumbers, Histogram, Numbers, Outbox, RootNumbers

__all__ = ["EndpointNumbers", "Histogram", "Numbers", "Outbox", "RootNumbers"]
