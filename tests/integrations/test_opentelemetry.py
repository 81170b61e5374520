"""OpenTelemetry: what the API is told, seen through an SDK that the test sets up."""

from __future__ import annotations

import pytest

import livepatch
from livepatch.events import emit

pytest.importorskip("opentelemetry.sdk", reason="needs an OpenTelemetry SDK")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from livepatch.integrations.opentelemetry import Telemetry


@pytest.fixture
def seen():
    spans, reader, tracers = InMemorySpanExporter(), InMemoryMetricReader(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    meters = MeterProvider(metric_readers=[reader])
    made = Telemetry(tracer_provider=tracers, meter_provider=meters)
    yield made, spans, reader, tracers.get_tracer("test")
    made.close()
    meters.shutdown()
    tracers.shutdown()


def points(reader):
    data = reader.get_metrics_data()
    scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
    return {
        (metric.name, *sorted(point.attributes.values())): getattr(point, "value", getattr(point, "count", None))
        for scope in scopes
        for metric in scope.metrics
        for point in metric.data.data_points
    }


def test_each_switch_is_a_span_and_a_measurement(write_module, write_fix, seen):
    _, spans, reader, _ = seen
    m = write_module("def f(): return 'old'\n")
    applied = livepatch.apply(write_fix(f"{m.__name__}:f", "def f(): return 'new'"))
    assert points(reader)["livepatch.patches", "on"] == 1
    applied.mode = "off"
    applied.revert()
    found = {span.name: span for span in spans.get_finished_spans()}
    assert list(found) == ["livepatch.applied", "livepatch.mode_changed", "livepatch.reverted"]
    span = found["livepatch.applied"]
    assert span.attributes["livepatch.patch"] == applied.id
    assert span.attributes["livepatch.mode"] == "on"
    assert span.end_time > span.start_time
    assert span.status.is_unset
    measured = points(reader)
    assert measured["livepatch.events", "applied"] == 1
    assert measured["livepatch.switch.duration",] == 3
    assert not any(name == "livepatch.patches" for name, *_ in measured)


def test_a_soak_that_was_rolled_back_is_an_error_and_other_events_belong_to_the_open_span(seen):
    _, spans, reader, tracer = seen
    with tracer.start_as_current_span("request"):
        emit("breach", level="error", patch="x", detect_ms=5.0, probes=["a"])
        emit(
            "soaked", level="warning", patch="x", outcome="rolled-back", observed_ms=9.0, detect_ms=5.0, restore_ms=1.0
        )
    soaked, request = spans.get_finished_spans()
    assert (soaked.name, soaked.status.is_ok, soaked.status.description) == ("livepatch.soaked", False, "rolled-back")
    assert soaked.end_time - soaked.start_time == pytest.approx(9e6)
    assert soaked.parent.span_id == request.context.span_id
    assert [(event.name, event.attributes["livepatch.probes"]) for event in request.events] == [
        ("livepatch.breach", ("a",))
    ]
    assert points(reader)["livepatch.detect.duration",] == 1
    assert points(reader)["livepatch.restore.duration",] == 1


def test_after_close_nothing_is_told(seen):
    made, spans, reader, _ = seen
    made.close()
    made.close()
    emit("applied", patch="x", total_ms=1.0)
    assert spans.get_finished_spans() == ()
    assert points(reader) == {}
