"""OpenTelemetry (extra ``otel``), by its API alone: spans and metrics go wherever the program's own SDK sends them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry import metrics, trace

from livepatch.engine.modes import spelled_mode
from livepatch.events import listen
from livepatch.process.live import live

__all__ = ["Telemetry"]

_SPANS = {"applied": "total_ms", "reverted": "total_ms", "mode_changed": "switch_us", "soaked": "observed_ms"}
"""The events that are spans, by the field that says how long what they tell of took."""
_UNITS = {"us": 1e3, "ms": 1e6}  # nanoseconds
_FAILED = frozenset({"breach", "not_rolled_back", "callback_failed", "not_settled", "not_recorded", "watch_failed"})


class Telemetry:
    """Makes spans and metrics of what livepatch does, until :meth:`close`.

    Without providers the program's global ones are used.  Spans are ``livepatch.applied``, ``livepatch.mode_changed``,
    ``livepatch.reverted`` and ``livepatch.soaked``; metrics are listed in docs/telemetry.md.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer("livepatch", tracer_provider=tracer_provider)
        meter = metrics.get_meter("livepatch", meter_provider=meter_provider)
        self._open = True
        self._events = meter.create_counter("livepatch.events", unit="{event}", description="Events, by name.")
        self._seconds = {
            field: meter.create_histogram(f"livepatch.{name}.duration", unit="s", description=told)
            for field, name, told in (
                ("switch_us", "switch", "What the stores of a switch took."),
                ("detect_ms", "detect", "From going live to the verdict, of patches that were rolled back."),
                ("restore_ms", "restore", "From the verdict until the old side was back."),
            )
        }
        meter.create_observable_gauge(
            "livepatch.patches", [self._patches], unit="{patch}", description="Applied patches, by mode."
        )
        self._end = listen(self._heard)

    def _patches(self, _: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        if not self._open:
            return []
        modes = Counter(spelled_mode(layer.mode) for layer in live.state.stack.layers)
        return [metrics.Observation(count, {"mode": mode}) for mode, count in modes.items()]

    def _heard(self, event: str, fields: Mapping[str, object]) -> None:
        now = time.time_ns()
        self._events.add(1, {"event": event})
        for field, histogram in self._seconds.items():
            value = fields.get(field)
            if isinstance(value, (int, float)) and not (event == "breach" and field == "detect_ms"):
                histogram.record(value * _UNITS[field[-2:]] / 1e9)
        span = trace.get_current_span()
        attributes = {
            f"livepatch.{name}": plain for name, value in fields.items() if (plain := _plain(value)) is not None
        }
        if event not in _SPANS:
            span.add_event(f"livepatch.{event}", attributes)
            return
        took = fields.get(_SPANS[event])
        begun = now - int(took * _UNITS[_SPANS[event][-2:]]) if isinstance(took, (int, float)) else now
        made = self._tracer.start_span(f"livepatch.{event}", start_time=begun, attributes=attributes)
        if fields.get("outcome") in ("rolled-back", "failed") or event in _FAILED:
            made.set_status(trace.StatusCode.ERROR, str(fields.get("outcome", event)))
        made.end(now)

    def close(self) -> None:
        """Tell no more.  Twice is harmless."""
        self._open = False
        self._end()


def _plain(value: object) -> Any:
    """A value that an attribute may have."""
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [str(each) for each in value]
    return None
