"""Prometheus: livepatch's metrics in a registry, and probes of what others measure."""

from __future__ import annotations

import contextlib
import http.server
import json
import math
import re
import threading
import time
from pathlib import Path

import pytest

import livepatch
from livepatch.errors import PatchError
from livepatch.events import emit
from livepatch.health.probes import HealthProbe

pytest.importorskip("prometheus_client", reason="needs the extra prometheus")

from prometheus_client import CollectorRegistry, Counter, generate_latest

from livepatch.integrations.prometheus import Endpoint, Metrics, registry_probe

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def metrics(registry):
    made = Metrics(registry)
    yield made
    made.close()


def test_what_is_done_is_counted_and_how_patches_stand_is_shown(write_module, write_fix, registry, metrics):
    m = write_module("def f(): return 'old'\n")
    applied = livepatch.apply(write_fix(f"{m.__name__}:f", "def f(): return 'new'"), mode=livepatch.Measured("on"))
    m.f()
    livepatch.tripwire(applied.id)
    labels = {"patch": applied.id, "target": f"{m.__name__}:f"}
    sample = registry.get_sample_value
    assert sample("livepatch_patch_info", {"patch": applied.id, "flag": applied.flag, "mode": "measured(on)"}) == 1
    assert sample("livepatch_patch_on", {"patch": applied.id}) == 1
    assert sample("livepatch_measured_calls_total", labels) == 1
    assert sample("livepatch_measured_errors_total", labels) == 0
    assert sample("livepatch_measured_seconds_total", labels) > 0
    assert sample("livepatch_tripped_total", {"patch": applied.id}) == 1
    assert sample("livepatch_events_total", {"event": "applied"}) == 1
    assert sample("livepatch_switch_seconds_count") == 1
    applied.revert()
    assert sample("livepatch_patch_on", {"patch": applied.id}) is None
    assert sample("livepatch_events_total", {"event": "reverted"}) == 1
    emit("breach", patch="x", detect_ms=500.0)
    emit("soaked", patch="x", detect_ms=500.0, restore_ms=20.0)
    assert sample("livepatch_detect_seconds_sum") == 0.5
    assert sample("livepatch_restore_seconds_sum") == pytest.approx(0.02)


def test_a_watchdogs_readings_are_shown_and_an_unknown_one_is_no_number(registry):
    dog = livepatch.Watchdog([HealthProbe("a", lambda: 5, "blocks"), HealthProbe("b", lambda: None)], interval=0.02)
    made = Metrics(registry, watchdogs=[dog])
    until = time.monotonic() + 10
    with dog:  # on a busy machine a reading may be too old to count by the time that it is asked for
        while registry.get_sample_value("livepatch_probe", {"probe": "a", "unit": "blocks"}) != 5:
            assert time.monotonic() < until
            time.sleep(0.005)
    assert math.isnan(registry.get_sample_value("livepatch_probe", {"probe": "b", "unit": ""}))
    made.close()
    assert generate_latest(registry) == b""
    made.close()


def test_metrics_that_are_there_already_are_refused_and_none_is_added(registry):
    Counter("livepatch_probe", "somebody's own", registry=registry)
    before = generate_latest(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Metrics(registry)
    assert generate_latest(registry) == before
    with pytest.raises(TypeError):
        Metrics(5)


def test_the_dashboard_asks_only_for_what_there_is(registry, metrics):
    dashboard = json.loads((ROOT / "examples" / "grafana" / "livepatch.json").read_text())
    asked = set(re.findall(r"livepatch_\w+", " ".join(t["expr"] for p in dashboard["panels"] for t in p["targets"])))
    told = {line.split()[2] for line in generate_latest(registry).decode().splitlines() if line.startswith("# TYPE")}
    assert asked
    assert {re.sub(r"_bucket$", "", name) for name in asked} <= told
    listed = (ROOT / "docs" / "telemetry.md").read_text()
    assert {name for name in told if not name.endswith("_created") and f"`{name}`" not in listed} == set()


def test_a_sample_of_the_registry_is_a_probe(registry):
    counter = Counter("requests", "all", ["path"], registry=registry)
    probe = registry_probe("requests_total", {"path": "/"}, registry=registry)
    rate = registry_probe("requests_total", {"path": "/"}, registry=registry, rate=True, name="rate")
    assert (probe.name, probe.read()) == ("requests_total", None)
    counter.labels("/").inc(3)
    assert probe.read() == 3
    assert rate.read() is None
    counter.labels("/").inc(3)
    assert rate.read() > 0
    with pytest.raises(TypeError):
        registry_probe("x", {"a": 1}, registry=registry)


@pytest.fixture
def served():
    """A server on the loopback that gives what the test says."""
    state = {"body": b"", "asked": 0, "status": 200}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            state["asked"] += 1
            self.send_response(state["status"])
            if state["status"] == 302:
                self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # who asked has had enough
                self.wfile.write(state["body"])

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state, f"http://127.0.0.1:{server.server_address[1]}/metrics"
        server.shutdown()
        thread.join()


def test_an_endpoint_is_asked_once_for_all_its_probes(served):
    state, url = served
    state["body"] = b'# TYPE peers gauge\npeers 7\nrequests_total{path="/"} 3\n'
    endpoint = Endpoint(url, fresh=60)
    probes = [
        endpoint.probe("peers", unit="peers"),
        endpoint.probe("requests_total", {"path": "/"}),
        endpoint.probe("x"),
    ]
    assert [probe.read() for probe in probes] == [7, 3, None]
    assert state["asked"] == 1
    assert Endpoint(url, fresh=0).probe("requests_total", {"path": "/x"}).read() is None


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b"peers 7\n"), (302, b""), (200, b"peers seven\n"), (200, b"x" * (9 << 20)), (200, b"\xff")],
)
def test_an_endpoint_that_does_not_answer_as_it_should_is_unknown(served, status, body):
    state, url = served
    state["status"], state["body"] = status, body
    with pytest.raises(Exception):  # noqa: B017, PT011  # whichever: the watchdog takes each for unknown
        Endpoint(url).probe("peers").read()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/", "", "127.0.0.1:9100"])
def test_another_url_is_refused(url):
    with pytest.raises(PatchError):
        Endpoint(url)
