"""Prometheus (extra ``prometheus``): what livepatch does, in the program's own registry; and probes that read metrics.

Nothing here serves or pushes: where a registry goes is the program's affair.
"""

from __future__ import annotations

import math
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from livepatch.engine.modes import is_on, spelled_mode
from livepatch.errors import PatchError, spelled
from livepatch.events import listen
from livepatch.govern.tripwires import tripped
from livepatch.health.probes import HealthProbe, Rate
from livepatch.health.watchdog import Watchdog
from livepatch.process.applied import Applied
from livepatch.process.live import live

__all__ = ["Endpoint", "Metrics", "registry_probe"]

_SECONDS = {
    "livepatch_switch_seconds": ("switch_us", 1e-6, "What the stores of a switch took."),
    "livepatch_detect_seconds": (
        "detect_ms",
        1e-3,
        "From going live to the verdict, of patches that were rolled back.",
    ),
    "livepatch_restore_seconds": ("restore_ms", 1e-3, "From the verdict until the old side was back."),
}
_BUCKETS = {
    "livepatch_switch_seconds": (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0),
    "livepatch_detect_seconds": (0.1, 1.0, 5.0, 30.0, 120.0, 600.0),
    "livepatch_restore_seconds": (1e-3, 1e-2, 0.1, 1.0, 10.0),
}
_LARGEST = 8 << 20  # bytes of an exposition


class Metrics:
    """Registers livepatch's metrics with `registry`, until :meth:`close`.

    `watchdogs` are those whose newest readings are shown as ``livepatch_probe``.  The metrics are listed in
    docs/telemetry.md.  Raises :class:`TypeError`; and what the registry raises if it has such metrics already, and then
    none has been added.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY, *, watchdogs: Iterable[Watchdog] = ()) -> None:
        if not isinstance(registry, CollectorRegistry):
            raise TypeError(f"registry must be a prometheus_client.CollectorRegistry, not {spelled(registry)}")
        self._registry = registry
        self._ours: list[Collector] = []
        try:
            self._events = Counter("livepatch_events", "Events of livepatch, by their names.", ["event"], registry=None)
            self._seconds = {
                name: Histogram(name, told, buckets=_BUCKETS[name], registry=None)
                for name, (_, _, told) in _SECONDS.items()
            }
            for each in (self._events, *self._seconds.values(), _Standing(tuple(watchdogs))):
                registry.register(each)
                self._ours.append(each)
        except BaseException:
            self._unregister()
            raise
        self._end = listen(self._heard)

    def _heard(self, event: str, fields: Mapping[str, object]) -> None:
        self._events.labels(event=event).inc()
        for name, (field, unit, _) in _SECONDS.items():
            value = fields.get(field)
            told = event != "breach" or field != "detect_ms"  # it is told again when the soak is over
            if isinstance(value, (int, float)) and told:
                self._seconds[name].observe(value * unit)

    def _unregister(self) -> None:
        while self._ours:
            self._registry.unregister(self._ours.pop())

    def close(self) -> None:
        """Take the metrics out of the registry.  Twice is harmless."""
        self._end()
        self._unregister()


class _Standing(Collector):
    """How the patches stand, read when somebody asks.  Costs no look at calls in flight."""

    def __init__(self, watchdogs: tuple[Watchdog, ...]) -> None:
        for each in watchdogs:
            if not isinstance(each, Watchdog):
                raise TypeError(f"watchdogs must hold livepatch.Watchdog objects, not {spelled(each)}")
        self._watchdogs = watchdogs

    def describe(self) -> list[Metric]:
        """Names for the registry, without asking."""
        return list(_families().values())

    def collect(self) -> Iterator[Metric]:
        """All of it now."""
        made = _families()
        for record in list(live.records.values()):
            applied = Applied(record)
            mode = applied.mode
            if applied.reverted:
                continue  # meanwhile
            made["livepatch_patch_info"].add_metric([record.id, record.flag, spelled_mode(mode)], 1)
            made["livepatch_patch_on"].add_metric([record.id], float(is_on(mode)))
            made["livepatch_patch_draining"].add_metric([record.id], float(applied.switching))
            made["livepatch_tripped"].add_metric([record.id], tripped(record.id))
            for each in applied.measured:
                made["livepatch_measured_calls"].add_metric([record.id, each.target], each.calls)
                made["livepatch_measured_errors"].add_metric([record.id, each.target], each.errors)
                made["livepatch_measured_seconds"].add_metric([record.id, each.target], each.seconds)
        for watchdog in self._watchdogs:
            for series in watchdog.series().values():
                value = series.points[-1].value if series.points else None
                made["livepatch_probe"].add_metric([series.name, series.unit], math.nan if value is None else value)
        yield from made.values()


def _families() -> dict[str, Any]:
    gauges = (
        ("livepatch_patch_info", "Applied patches: always 1.", ["patch", "flag", "mode"]),
        ("livepatch_patch_on", "Whether every call gets the new side.", ["patch"]),
        ("livepatch_patch_draining", "Whether calls on the other side are waited for.", ["patch"]),
        ("livepatch_probe", "The newest reading of a watchdog's probe; NaN if it is unknown.", ["probe", "unit"]),
    )
    counters = (
        ("livepatch_tripped", "How often somebody tried the hole.", ["patch"]),
        ("livepatch_measured_calls", "Calls of measured functions since the mode was set.", ["patch", "target"]),
        ("livepatch_measured_errors", "Those that raised.", ["patch", "target"]),
        ("livepatch_measured_seconds", "What they took.", ["patch", "target"]),
    )
    made: dict[str, Any] = {name: GaugeMetricFamily(name, told, labels=labels) for name, told, labels in gauges}
    return made | {name: CounterMetricFamily(name, told, labels=labels) for name, told, labels in counters}


def registry_probe(
    metric: str,
    labels: Mapping[str, str] | None = None,
    *,
    registry: CollectorRegistry = REGISTRY,
    rate: bool = False,
    name: str = "",
    unit: str = "",
) -> HealthProbe:
    """A probe of one sample in a registry of this process, such as ``"http_requests_total"``.

    With `rate`, how much it grows in a second.  By default its name is that of the metric.  Raises :class:`TypeError`
    and :class:`PatchError`.
    """
    wanted = _labels(labels)
    return (Rate if rate else HealthProbe)(name or metric, lambda: registry.get_sample_value(metric, wanted), unit)


def _labels(labels: Mapping[str, str] | None) -> dict[str, str]:
    wanted = dict(labels or {})
    if not all(isinstance(each, str) for pair in wanted.items() for each in pair):
        raise TypeError("labels must map names to values, all of them str")
    return wanted


class Endpoint:
    """What ``http://HOST:PORT/metrics`` tells in Prometheus' text format, for any number of probes.

    It is fetched at most every `fresh` seconds.  A fetch may take `timeout` seconds and give 8 MiB.  No redirect is
    followed, and no proxy is asked.  Raises :class:`TypeError`, and :class:`PatchError` for another kind of URL.
    """

    def __init__(self, url: str, *, timeout: float = 5.0, fresh: float = 0.2) -> None:
        if not isinstance(url, str):
            raise TypeError(f"url must be a str, not {spelled(url)}")
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise PatchError(
                "that is no endpoint of metrics",
                found=spelled(url),
                expected="a URL such as 'http://127.0.0.1:9100/metrics'",
                action="correct the URL",
            )
        self._url, self._timeout, self._fresh = url, timeout, fresh
        self._lock = threading.Lock()
        self._at = -math.inf
        self._samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(),
        ):
            self._opener.add_handler(handler)

    def probe(
        self,
        metric: str,
        labels: Mapping[str, str] | None = None,
        *,
        rate: bool = False,
        name: str = "",
        unit: str = "",
    ) -> HealthProbe:
        """A probe of one sample, with these very `labels`; with `rate`, how much it grows in a second.

        Raises :class:`TypeError` and :class:`PatchError`.
        """
        key = metric, frozenset(_labels(labels).items())
        return (Rate if rate else HealthProbe)(name or metric, lambda: self._read().get(key), unit)

    def _read(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        with self._lock:
            if time.monotonic() - self._at > self._fresh:
                text = self._fetch()
                self._samples = {
                    (sample.name, frozenset(sample.labels.items())): float(sample.value)
                    for family in text_string_to_metric_families(text)
                    for sample in family.samples
                }
                self._at = time.monotonic()
            return self._samples

    def _fetch(self) -> str:
        end = time.monotonic() + self._timeout
        data = bytearray()
        try:
            opened = self._opener.open(self._url, timeout=self._timeout)
        except urllib.error.HTTPError as error:
            error.close()  # it holds the answer
            raise OSError(f"the endpoint answers {error.code}") from None
        with opened as answer:
            while chunk := answer.read1(1 << 16):
                data += chunk
                if len(data) > _LARGEST or time.monotonic() > end:
                    raise ValueError("too large or too slow")  # the probe is unknown then, and says so
        return data.decode("utf-8")
