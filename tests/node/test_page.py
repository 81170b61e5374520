"""The page of running nodes: what stands in it, and what a browser makes of it."""

from __future__ import annotations

import contextlib
import copy
import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from html.parser import HTMLParser

import pytest
from tests.cli.test_nodes import run  # noqa: F401  # the fixture
from tests.node.clients import ADMIT, FEE, WAIT
from tests.node.test_watching import TICK, Lag, until
from tests.pages.test_plot import points

import livepatch
from livepatch.errors import IncompatibleError
from livepatch.govern.telling import newest
from livepatch.node.client import Node
from livepatch.node.looking import look
from livepatch.node.page import page
from livepatch.node.places import sockets
from livepatch.node.protocol import Readings
from livepatch.pages.serving import Page

pytestmark = pytest.mark.usefixtures("events")

EVIL = "<script>alert(1)</script>\"'&\u202e"
STATUS = {
    "node": "one", "pid": 7, "started": 1_795_000_000.0, "python": "3.12.1", "livepatch": "0.1", "store": "/s",
    "record": {}, "generation": 1, "on_trial": False, "patches": [], "wanted": [], "fell": [], "processes": [],
}  # fmt: skip
PATCH = {
    "id": "CVE-1", "state": "settled", "mode": "on", "since": 1_795_000_000.0, "targets": ["m:f"], "frames": [],
    "units": 0, "foreign": [], "left": [], "troubles": 0, "trouble": "", "tripped": 0, "migrations": [],
    "protected": False,
}  # fmt: skip
HEALTH = {"state": "ok", "running": True, "interval": 1.0, "probes": [{"name": "lag"}], "rules": [], "soaks": []}
ENTRY = {
    "index": 3, "at": "2026-11-01T00:00:00.000000Z", "event": "apply", "phase": "failed", "who": "user op",
    "patch": {"id": "CVE-1"}, "details": {"error": "PolicyError", "found": "no window"},
}  # fmt: skip


def told(**changes):
    """What one node tells, with those changes."""
    node = {"where": "/s/control.sock", "error": None, "status": STATUS, "health": HEALTH}
    node |= {"readings": {"span": 600.0, "interval": 1.0, "series": []}, "record": [ENTRY], **changes}
    return copy.deepcopy({"at": 1_795_000_100.0, "nodes": [node]})


class Tables(HTMLParser):
    """The text of each table's cells, by the table's id."""

    def __init__(self, html):
        super().__init__()
        self.rows = {}
        self._row = self._cell = None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self._rows = self.rows.setdefault(dict(attrs).get("id", ""), [])
        elif tag == "tr":
            self._row = []
            self._rows.append(self._row)
        elif tag in ("td", "th"):
            self._cell = True
            self._row.append("")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data):
        if self._cell:
            self._row[-1] += data


# Pure


def test_each_patch_says_how_it_stands_and_why_it_is_not_in():
    aside = {"id": "CVE-2", "state": "aside", "mode": "on", "reason": "source-differs", "waits_for": []}
    waits = {"id": "CVE-3", "state": "waiting", "mode": "off", "reason": "", "waits_for": ["a.b"]}
    status = {**STATUS, "patches": [PATCH], "wanted": [aside, waits], "fell": [{"id": "CVE-4", "at": "2026-11-01"}]}
    rows = Tables(page(told(status=status))).rows["patches-1"][1:]
    assert rows[0] == ["CVE-1", "settled", "on", "2026-11-18 11:06:40 UTC", "1", "", ""]
    assert rows[1] == ["CVE-2", "aside", "on", "", "", "", "source-differs"]
    assert rows[2][-1] == "waits for a.b"
    assert "died too soon" in rows[3][-1]
    assert "No patch is applied" in page(told())


def test_the_calls_that_a_switch_waits_for_are_named():
    frame = {"function": "wait", "file": "pool.py", "line": 17, "holder": "thread x", "since": None, "endless": True}
    status = {**STATUS, "patches": [{**PATCH, "state": "draining", "frames": [frame], "units": 2}]}
    found = Tables(page(told(status=status))).rows
    assert found["patches-1"][1][1:6] == ["draining", "on", "2026-11-18 11:06:40 UTC", "1", "3"]
    assert found[""][1] == ["CVE-1", "wait", "pool.py:17", "thread x", "", "never leaves by itself: restart it"]


def test_each_probe_has_a_plot_with_its_thresholds():
    rule = {"rule": "lag above=3", "probe": "lag", "state": "breach", "why": "5, 5 is above 3", "value": 5.0,
            "limit": 3.0, "unit": "blocks"}  # fmt: skip
    soaked = {**rule, "limit": 4.0, "rule": "lag plus=1", "state": "ok"}
    soak = {"patch": "CVE-1", "stage": "live", "mode": "on", "readings": 4, "outcome": None,
            "verdict": {"state": "ok", "judged": [soaked]}}  # fmt: skip
    probes = [
        {"name": "lag", "value": 5.0, "why": "", "unit": "blocks"},
        {"name": "rss", "value": None, "why": "raised KeyError", "unit": "bytes"},
    ]
    series = [
        {"name": "lag", "unit": "blocks", "ages": [3.0, 2.0, 1.0, 0.5], "values": [1.0, None, 5.0, 5.0]},
        {"name": "rss", "unit": "bytes", "ages": [1.0], "values": [None]},
    ]
    html = page(
        told(
            health={**HEALTH, "state": "breach", "probes": probes, "rules": [rule], "soaks": [soak]},
            readings={"span": 600.0, "interval": 1.0, "series": series},
        )
    )
    assert "<title>one: breach</title>" in html
    lag, rss = re.findall(r"<figure>(.*?)</figure>", html)
    assert len(points(lag)) == 3
    assert lag.count("<line ") == 2
    assert "<title>lag above=3</title>" in lag
    assert "lag: 5 blocks, 1 to 5" in lag
    assert (points(rss), rss.count("<line ")) == ([], 0)
    assert "rss: unknown, raised KeyError" in rss
    row = Tables(html).rows["rules-1"][1]
    assert row == ["lag", "breach", "5 blocks", "3 blocks", "5, 5 is above 3", "lag above=3"]
    assert "CVE-1 soaks: live" in html


def test_a_node_that_reads_nothing_is_not_known_to_be_well():
    html = page(told(health={**HEALTH, "state": "unknown", "probes": []}))
    assert "nothing is known" in html
    assert "<title>one: unknown</title>" in html


def test_the_newest_entries_of_the_record_come_first():
    html = page(
        told(record=[ENTRY, {**ENTRY, "index": 4, "phase": "done", "details": {"mode": "on", "key": "secret"}}])
    )
    rows = Tables(html).rows["record-1"][1:]
    assert [row[0] for row in rows] == ["4", "3"]
    assert rows[1][1:] == [
        "2026-11-01T00:00:00Z",
        "apply",
        "failed",
        "CVE-1",
        "user op",
        "error PolicyError, found no window",
    ]
    assert "secret" not in html


def test_the_worst_of_several_nodes_is_that_of_all():
    both = told()
    both["nodes"].append({"where": "/t", "error": {"message": "the node did not answer"}})
    html = page(both)
    assert "<title>one, /t: unknown</title>" in html
    assert "the node did not answer" in html
    assert "<title>no node: unknown</title>" in page({**both, "nodes": []})


def texts_in(value, path=()):
    """The path to each text in it."""
    if isinstance(value, str):
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from texts_in(each, (*path, key))


def test_whatever_a_node_says_is_text():
    frame = {"function": "wait", "file": "pool.py", "line": "1", "holder": "x", "since": None, "endless": True}
    patch = {**PATCH, "frames": [frame], "foreign": ["x"], "left": ["x"], "troubles": 1,
             "migrations": [{"name": "x", "version": "1"}]}  # fmt: skip
    judged = {"rule": "x", "probe": "lag", "state": "x", "why": "x", "value": 1.0, "limit": 1.0, "unit": "x"}
    soak = {"patch": "x", "stage": "x", "mode": "x", "readings": "1", "outcome": {"outcome": "x", "why": "x"},
            "verdict": {"state": "x", "judged": [judged]}}  # fmt: skip
    whole = told(
        status={
            **STATUS, "patches": [patch],
            "wanted": [{"id": "x", "state": "x", "mode": "x", "reason": "x", "waits_for": ["x"]}],
            "fell": [{"id": "x", "at": "x"}],
            "processes": [{"pid": "1", "standings": {"x": "x"}, "lags": True}],
        },
        health={**HEALTH, "probes": [{"name": "lag", "value": None, "why": "x"}], "rules": [judged], "soaks": [soak]},
        readings={"span": 600.0, "interval": 1.0,
                  "series": [{"name": "lag", "unit": "x", "ages": [1.0], "values": [1.0]}]},
    )  # fmt: skip
    told_of = 0
    for path in texts_in(whole):
        changed = copy.deepcopy(whole)
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = EVIL
        html = page(changed)
        told_of += "&lt;script&gt;" in html
        assert "<script" not in html
        assert "\u202e" not in html
        assert "is not understood" not in html
    assert told_of > 40


@pytest.mark.parametrize("part", ["status", "health", "readings", "record"])
@pytest.mark.parametrize("wrong", [7, [], {}, [{}], {"series": [{"name": EVIL, "ages": [1], "values": []}], "span": 0}])
def test_what_is_no_node_is_told_as_an_error(part, wrong):
    html = page(told(**{part: wrong}))
    assert "<script" not in html
    assert ("is not understood" in html) == (part != "record" or wrong not in ([], {}))


# Of real nodes


@pytest.fixture
def lag():
    return Lag()


@pytest.fixture
def agent(client, tmp_path, lag):
    given = {"probes": [lag.probe], "rules": [livepatch.Rule("head_lag", above=3)], "interval": TICK}
    with livepatch.Agent(tmp_path / "store", trust=client.root, **given) as made:
        yield made


def shown(agent):
    """The values of its probe that a page would show."""
    return [value for series in agent.readings()["series"] for value in series["values"]]


def looked(agent, **given):
    return look(lambda: [agent.socket], **given)


def test_a_node_with_a_patch_and_a_breach(client, agent, lag):
    agent.apply(client.fix("CVE-2026-1", ADMIT))
    with pytest.raises(IncompatibleError):
        agent.apply(client.fix("CVE-2026-2", ADMIT))  # what it was made for is not there any more
    until(lambda: len(shown(agent)) >= 5)
    lag.value = 5
    until(lambda: agent.health()["state"] == "breach")
    lag.value = None
    until(lambda: shown(agent)[-1] is None)
    seen = looked(agent)
    html, (node,) = page(seen), seen["nodes"]
    assert "<title>store: breach</title>" in html or "<title>store: unknown</title>" in html
    rows = Tables(html).rows
    assert rows["patches-1"][1][:3] == ["CVE-2026-1", "settled", "on"]
    assert rows["rules-1"][1][3] == "3 blocks"
    values = node["readings"]["series"][0]["values"]
    assert len(points(html)) == sum(value is not None for value in values) >= 7
    assert [row[2:5] for row in rows["record-1"][1:3]] == [
        ["applied", "failed", "CVE-2026-2"],
        ["applied", "intent", "CVE-2026-2"],
    ]
    assert "IncompatibleError" in rows["record-1"][1][-1]


def test_a_call_that_is_still_on_the_old_side_is_shown(client, agent):
    caller = threading.Thread(target=client.module.wait)
    caller.start()
    try:
        agent.apply(client.fix("CVE-2026-3", WAIT))
        html = page(looked(agent))
        rows = Tables(html).rows
        assert rows["patches-1"][1][1] == "draining"
        assert int(rows["patches-1"][1][5]) >= 1
        assert any("wait" in row[1] for row in rows[""][1:])
    finally:
        client.module.gate.set()
        caller.join()


def test_what_is_under_embargo_is_not_there(client, agent, tmp_path):
    fix = livepatch.Patch(
        "CVE-2026-5",
        package=client.package,
        versions="==1.0",
        summary="see the advisory",
    )
    fix.embargo = livepatch.Embargo(
        until="2199-01-01T00:00:00Z",
        proof_of_concept="SECRETPROOF",
        affected_paths=("SECRETPATH",),
        reporter="SECRETNAME",
    )

    @fix.replace(f"{client.package}.pool:fee")
    def fee(size):
        return size * 3

    applied = livepatch.apply(fix)
    try:
        seen = looked(agent)
        assert "CVE-2026-5" in page(seen)
        assert "SECRET" not in json.dumps(seen)
    finally:
        applied.revert()


def test_readings_are_those_of_so_many_seconds_and_bounded(agent, lag):
    until(lambda: len(shown(agent)) > 20)
    with Node(agent.socket) as node:
        found = node.ask(Readings(span=5 * TICK))
    assert found["span"] == 5 * TICK
    (series,) = found["series"]
    assert len(series["ages"]) == len(series["values"]) <= 8
    assert series["ages"] == sorted(series["ages"], reverse=True)
    assert all(0 <= age <= 5 * TICK for age in series["ages"])
    from livepatch.health.series import Point

    watchdog = agent._running.watching.watchdog
    with watchdog._lock:
        watchdog._points["head_lag"].extend(Point(time.monotonic(), 1.0) for _ in range(5000))
        assert len(watchdog._points["head_lag"]) == 3600
    assert len(shown(agent)) == 1000


def test_a_node_that_has_ended_is_told(agent):
    path = agent.socket
    agent.close()
    html = page(look(lambda: [path]))
    assert "the node cannot be reached" in html
    assert "There is no node" in page(look(lambda: sockets(str(path.parent))))


def test_a_node_that_knows_no_readings_and_lets_nobody_at_its_record_is_shown_without(agent, monkeypatch, tmp_path):
    def ask(self, request, *given, **others):
        if isinstance(request, Readings):
            raise livepatch.NodeError("unknown request", found="readings", expected="another", action="wait")
        found = asked(self, request, *given, **others)
        return {**found, "record": {"folder": str(tmp_path / "nowhere"), "key": "x"}}

    asked = Node.ask
    monkeypatch.setattr(Node, "ask", ask)
    html = page(looked(agent))
    assert "unknown request" in html
    assert "there is no record at" in html
    assert 'id="state-1"' in html or "id=state-1" in html


def test_the_newest_entries_are_found_however_long_the_record_is(client, agent, monkeypatch):
    agent.apply(client.fix("CVE-2026-6", FEE))
    for mode in ("off", "on") * 5:
        agent.flag("CVE-2026-6", mode)
    from livepatch.govern import telling

    folder = agent.about()["record"]["folder"]
    every = list(telling.entries(folder))
    assert newest(folder, 5) == every[-5:]
    assert newest(folder, 1000) == every
    monkeypatch.setattr(telling, "_END", 4000)
    found = newest(folder, 1000)
    assert 0 < len(found) < len(every)
    assert found == every[-len(found) :]


# By command


@contextlib.contextmanager
def watching(agent, *options):
    """The command, with the page's address."""
    command = [sys.executable, "-m", "livepatch", "watch", "--node", str(agent.socket), "--page", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


def test_the_page_is_served_by_command(client, agent):
    agent.apply(client.fix("CVE-2026-1", ADMIT))
    with watching(agent) as (process, address):
        port = int(address.removeprefix("http://127.0.0.1:").rstrip("/"))
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request("GET", "/")
            answer = connection.getresponse()
            assert answer.status == 200
            assert b"CVE-2026-1" in answer.read()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("options", "status", "found"),
    [
        (["--page", "0.0.0.0:8080"], 2, "loopback"),
        (["--page", "0", "--json"], 2, "leave --page out"),
        (["--page", "0", "--once"], 2, "leave --page out"),
    ],
)
def test_what_is_no_place_for_it_is_refused(agent, run, options, status, found):  # noqa: F811  # the fixture
    assert found in run("watch", "--node", agent.socket, *options, status=status)


def test_a_node_that_is_misspelt_is_told_at_once(tmp_path, run):  # noqa: F811  # the fixture
    assert "there is no node" in run("watch", "--node", tmp_path / "nowhere", "--page", status=3)


# In a browser


@pytest.mark.slow
def test_a_browser_shows_it(client, agent, lag, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium here: apt-get install chromium")
    agent.apply(client.fix("CVE-2026-1", ADMIT))
    lag.value = 5
    until(lambda: agent.health()["state"] == "breach")
    seen = looked(agent)
    seen["nodes"][0]["status"]["patches"][0]["mode"] = "<script>document.title='evil'</script>"
    known = [value for value in seen["nodes"][0]["readings"]["series"][0]["values"] if value is not None]
    with Page(lambda: seen, page) as served:
        thread = threading.Thread(target=served.serve, daemon=True)
        thread.start()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        command = [browser, *flags, "--enable-logging=stderr", "--dump-dom", served.address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        served.close()
        thread.join()
    dom = done.stdout
    assert "<title>store: breach</title>" in dom
    assert '<span id="state-1" class="phase breach">breach</span>' in dom
    assert "&lt;script&gt;document.title" in dom
    (line,) = re.findall(r'<polyline points="([^"]*)"', dom)
    assert len(line.split()) == len(known) >= 2
    assert 'class="limit breach"' in dom
    assert "violates the following Content Security Policy" not in done.stderr
