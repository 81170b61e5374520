"""The page of a rollout: what a plain client of HTTP is told, and what a browser makes of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import subprocess
import threading

import pytest
from tests.fleet.rollouts import Begun
from tests.fleet.test_state import OnDisk

from livepatch.fleet.keys import directive_key, node_key
from livepatch.fleet.overview import overview
from livepatch.fleet.page import page
from livepatch.fleet.running import directive_of, send
from livepatch.fleet.serving import Page
from livepatch.fleet.standing import Command, Report
from livepatch.fleet.steering import Steering
from livepatch.fleet.wire import encoded

EVIL = "<script>alert(1)</script>\"'&\u202e"


@pytest.fixture
def begun(tmp_path):
    engine = OnDisk(tmp_path)
    engine.clock.now = 1_795_000_000.0
    made = Begun(engine.store(), engine.clock)
    steering = Steering(engine.store())
    for _ in range(5):
        steering.turn(engine.clock())
        made.turn(0.001)
        engine.wait(500)
    yield made
    engine.close()


@pytest.fixture
def served(begun):
    with Page(begun.store, "r-1") as made:
        thread = threading.Thread(target=made.serve, daemon=True)
        thread.start()
        yield made
        made.close()
        thread.join()


def asked(served, path="/", method="GET", **headers):
    host, _, port = served.address.removeprefix("http://").rstrip("/").partition(":")
    with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=20)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()


def test_the_page_shows_stages_nodes_gates_and_the_record(served, begun):
    status, headers, text = asked(served)
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    for told in ("r-1", "canary", "soaks", "waits", "CVE-2026-1234", "errors is 0.001", "running"):
        assert told in text
    assert all(f">{node.id}</li>" in text for node in begun.planned.nodes)
    assert "<script" not in text
    status, headers, text = asked(served, "/status.json")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    told = json.loads(text)
    assert {**told, "at": 0} == {**json.loads(json.dumps(overview(begun.store, "r-1"))), "at": 0}


def test_looking_changes_nothing(served, begun):
    before = overview(begun.store, "r-1")["record"]
    assert [asked(served, method=method)[0] for method in ("GET", "HEAD", "POST")] == [200, 200, 501]
    assert overview(begun.store, "r-1")["record"] == before


def test_whatever_is_in_the_store_is_text(served, begun):
    first = begun.planned.nodes[0].id
    report = Report(node=first, sequence=99, order=0, condition="failed", why=EVIL)
    begun.store.put(node_key("r-1", first), encoded(report), expected=None)
    send(begun.store, "r-1", Command(kind="pause", who="x", order=directive_of(begun.store, "r-1").order, why=EVIL))
    Steering(begun.store).turn(begun.clock())
    _, _, text = asked(served)
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "\u202e" not in text
    told = overview(begun.store, "r-1")
    told["stages"][0]["name"] = told["patch"]["id"] = told["rollout"] = EVIL
    made = page(told)
    assert "<script" not in made
    assert "\u202e" not in made


def test_a_store_that_cannot_be_used_is_told(served, begun):
    begun.store.put(directive_key("r-1"), b"{}", expected=None)
    status, _, text = asked(served)
    assert status == 503
    assert "cannot be read" in text


@pytest.mark.slow
def test_a_browser_shows_it(served, begun, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium here: apt-get install chromium")
    first = begun.planned.nodes[0].id
    report = Report(node=first, sequence=99, order=0, condition="failed", why="<script>document.title='evil'</script>")
    begun.store.put(node_key("r-1", first), encoded(report), expected=None)
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [browser, *flags, "--dump-dom", served.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert '<span id="phase" class="phase running">running</span>' in done.stdout
    assert "<title>r-1: running</title>" in done.stdout
    assert "&lt;script&gt;document.title" in done.stdout
    picture = tmp_path / "page.png"
    command = [browser, *flags, f"--screenshot={picture}", "--window-size=1200,1400", served.address]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    assert picture.read_bytes().startswith(b"\x89PNG")
