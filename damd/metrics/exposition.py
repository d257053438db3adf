"""The numbers as Prometheus reads them, and those of the process beside them."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from damd.metrics.families import families
from damd.metrics.numbers import Numbers

_READ_BY_ALL = ""
"""What is accepted by who says nothing: Prometheus' text format 0.0.4."""


def exposition(numbers: Numbers) -> str:
    """The numbers in Prometheus' text format."""
    return generate_latest(_registry(numbers)).decode()


def exposition_for(accept: str, numbers: Numbers) -> tuple[bytes, str]:
    """The numbers in the format that is asked for, and its media type.

    The memory, the descriptors and the processor time of this process are read from ``/proc``: call it in a thread.

    Args:
        accept: The header of that name; what is not understood of it gets the text format 0.0.4.
        numbers: What there is to tell.
    """
    try:
        encode, media_type = choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is no number
        encode, media_type = choose_encoder(_READ_BY_ALL)
    return encode(_registry(numbers)), media_type


def _registry(numbers: Numbers) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(families(numbers)))
    ProcessCollector(registry=registry)
    return registry


class _Once(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families
