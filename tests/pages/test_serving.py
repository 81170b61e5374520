"""A page on a port of this machine, and those who try for more than to look at it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from livepatch.errors import NodeError, PatchError, StateError
from livepatch.pages import callers
from livepatch.pages.callers import owner, whose
from livepatch.pages.html import POLICY, document, text
from livepatch.pages.serving import Limits, Page, Place

QUICK = Limits(seconds=1.0, at_once=3, strangers=1, fresh=0.0)
HERE = Place()
GET = b"GET / HTTP/1.1\r\nHost: localhost:%d\r\n\r\n"


class Looked:
    """What a page is about, and how often that was asked for."""

    def __init__(self):
        self.times = 0
        self.value = "what there is"
        self.error = None
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self):
        self.times += 1
        assert self.gate.wait(20)
        if self.error is not None:
            raise self.error
        return {"value": self.value}


@pytest.fixture
def looked():
    made = Looked()
    yield made
    made.gate.set()


@contextlib.contextmanager
def serving(looked, limits=QUICK, place=HERE):
    with Page(looked, lambda told: document("t", f"<p>{text(told['value'])}</p>"), place, limits=limits) as page:
        thread = threading.Thread(target=page.serve, daemon=True)
        thread.start()
        yield page
        page.close()
        thread.join()


@pytest.fixture
def served(looked):
    with serving(looked) as page:
        yield page


def port_of(served):
    return served._server.server_port


def asked(served, path="/", method="GET", **headers):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port_of(served), timeout=20)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()


def raw(served, data, *, timeout=20):
    """All that comes back for those bytes."""
    with socket.create_connection(("127.0.0.1", port_of(served)), timeout=timeout) as connection:
        connection.sendall(data)
        found = bytearray()
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                found += chunk
        return bytes(found)


def test_it_is_a_page_and_the_same_as_json(served):
    status, headers, told = asked(served)
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "<p>what there is</p>" in told
    assert "<script" not in told
    status, headers, told = asked(served, "/status.json")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(told) == {"value": "what there is"}


def test_a_browser_is_told_to_run_nothing_keep_nothing_and_show_it_in_no_frame(served):
    for path in ("/", "/status.json", "/x"):
        _, headers, _ = asked(served, path)
        assert headers["Content-Security-Policy"] == POLICY
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "Set-Cookie" not in headers
    assert POLICY.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in POLICY


def test_it_can_be_looked_at_and_nothing_else(served):
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"):
        assert asked(served, method=method)[0] == 501
    for path in ("/x", "/../etc/passwd", "/?x", "/status.json?", "//evil"):
        assert asked(served, path)[0] == 404
    assert b" 404 " in raw(served, (GET % port_of(served)).replace(b" / ", b" http://evil/ ")).partition(b"\r\n")[0]
    status, headers, told = asked(served, method="HEAD")
    assert (status, told) == (200, "")
    assert int(headers["Content-Length"]) > 100


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost:1", "127.0.0.1", "", "evil.example:{port}", "localhost:{port}.evil"]
)
def test_a_site_whose_name_leads_to_this_machine_gets_nothing(served, looked, host):
    assert asked(served, Host=host.format(port=port_of(served)))[0] == 421
    assert looked.times == 0


def test_two_names_or_none_are_no_name(served, looked):
    port = port_of(served)
    two = b"GET / HTTP/1.1\r\nHost: localhost:%d\r\nHost: localhost:%d\r\n\r\n" % (port, port)
    for data in (two, b"GET / HTTP/1.0\r\n\r\n"):
        assert b" 421 " in raw(served, data).partition(b"\r\n")[0]
    assert b" 200 " in raw(served, b"GET / HTTP/1.1\r\nhost: LOCALHOST:%d\r\n\r\n" % port).partition(b"\r\n")[0]
    assert looked.times == 1


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * 100_000, b" 431 "),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000, b" 431 "),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 500 + b"\r\n", b" 431 "),
        (b"GET / HTTP/9.9\r\n\r\n", b" 505 "),
        (b"\x00\xff\xfe / / /\r\n\r\n", b" 400 "),
        (b"GET / HTTP/1.1\r\n no name\r\n\r\n", b" 421 "),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_within_bounds(served, looked, data, status):
    assert status in raw(served, data).partition(b"\r\n")[0]
    assert looked.times == 0
    assert asked(served)[0] == 200


def test_one_who_is_slow_has_so_many_seconds_in_all(served):
    with socket.create_connection(("127.0.0.1", port_of(served)), timeout=20) as connection:
        begun = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - begun < 10:
                connection.sendall(b"G")
                time.sleep(0.1)
        assert time.monotonic() - begun < 8


def test_one_who_takes_nothing_up_is_left(served, looked):
    looked.value = "x" * 20_000_000
    with socket.create_connection(("127.0.0.1", port_of(served)), timeout=20) as connection:
        connection.sendall((GET % port_of(served)).replace(b" / ", b" /status.json "))
        end = time.monotonic() + 10
        while not (looked.times and not served._server._taken):
            assert time.monotonic() < end
            time.sleep(0.05)


def test_many_at_a_time_are_refused_and_the_rest_goes_on(served):
    held = [socket.create_connection(("127.0.0.1", port_of(served)), timeout=20) for _ in range(QUICK.at_once)]
    try:
        end = time.monotonic() + 10
        while len(served._server._taken) < QUICK.at_once:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert b" 503 " in raw(served, b"").partition(b"\r\n")[0]
        assert len(served._server._taken) <= QUICK.at_once
    finally:
        for each in held:
            each.close()
    end = time.monotonic() + 10
    while asked(served)[0] != 200:
        assert time.monotonic() < end


def test_however_many_ask_it_is_looked_at_by_one_and_not_too_often(looked):
    with serving(looked, Limits(fresh=60.0)) as served:
        looked.gate.clear()
        found = []
        threads = [threading.Thread(target=lambda: found.append(asked(served)[0])) for _ in range(8)]
        for each in threads:
            each.start()
        time.sleep(0.3)
        looked.gate.set()
        for each in threads:
            each.join()
        assert found == [200] * 8
        assert looked.times == 1


def test_a_look_that_hangs_is_told(served, looked):
    looked.gate.clear()
    first = threading.Thread(target=asked, args=[served])
    first.start()
    end = time.monotonic() + 10
    while not looked.times:
        assert time.monotonic() < end
        time.sleep(0.01)
    status, _, told = asked(served)
    assert status == 503
    assert "try again" in told
    looked.gate.set()
    first.join()


def test_an_error_is_told_as_text(served, looked):
    looked.error = StateError("<b>no", found="<script>", expected="x", action="y")
    status, headers, told = asked(served)
    assert (status, headers["Content-Type"]) == (503, "text/plain; charset=utf-8")
    assert "<script>" in told


# Where


@pytest.mark.parametrize(
    ("told", "place"),
    [
        ("0", Place()),
        ("8080", Place("127.0.0.1", 8080)),
        ("127.0.0.1:8080", Place("127.0.0.1", 8080)),
        ("127.1.2.3:0", Place("127.1.2.3")),
        ("localhost:8080", Place("127.0.0.1", 8080)),
        ("[::1]:8080", Place("::1", 8080)),
    ],
)
def test_it_is_served_on_loopback_addresses(told, place):
    assert Place.parse(told) == place


@pytest.mark.parametrize(
    "told",
    ["0.0.0.0:80", "192.168.1.5:8080", "[::]:8080", "[::ffff:127.0.0.1]:80", "example.org:80", "10.0.0.1:1",
     "2130706433:80", "127.1:80", "[::1%lo]:80", "x", "", "-1", "65536", "127.0.0.1", "127.0.0.1:", "8080:", "٣"],
)  # fmt: skip
def test_and_on_no_others(told):
    with pytest.raises(PatchError) as caught:
        Place.parse(told)
    assert "ssh -L" in caught.value.action


def test_it_listens_there_alone(served, looked):
    assert served._server.server_address[0] == "127.0.0.1"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for port in (taken.getsockname()[1], 70_000, -1):
            with pytest.raises(NodeError) as caught:
                Page(looked, str, Place(port=port))
            assert caught.value.action


def has_ipv6():
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as tried:
        tried.bind(("::1", 0))
        return True
    return False


@pytest.mark.skipif(not has_ipv6(), reason="this system has no ::1")
def test_it_is_served_by_ipv6_too(looked):
    with serving(looked, place=Place("::1")) as served:
        assert served.address == f"http://[::1]:{port_of(served)}/"
        with contextlib.closing(http.client.HTTPConnection("::1", port_of(served), timeout=20)) as connection:
            connection.request("GET", "/")
            assert connection.getresponse().status == 200


# To whom


def test_it_is_shown_to_its_own_user_and_to_root_and_to_who_has_called_sudo(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 33)
    monkeypatch.delenv("SUDO_UID", raising=False)
    assert whose() == {0, 33}
    monkeypatch.setenv("SUDO_UID", "1000")
    assert whose() == {0, 33, 1000}
    for wrong in ("", "-1", "x", "1" * 20, "٣"):
        monkeypatch.setenv("SUDO_UID", wrong)
        assert whose() == {0, 33}


def test_another_user_of_the_machine_is_shown_nothing(served, looked, monkeypatch):
    monkeypatch.setattr(served._server, "shown_to", frozenset({4_000_000}))
    status, _, told = asked(served)
    assert status == 403
    assert "user" in told
    assert looked.times == 0


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="takes root")
def test_the_system_tells_who_asks(served, looked, monkeypatch):
    monkeypatch.setattr(served._server, "shown_to", frozenset({0}))
    ask = (
        "import socket, os; 'x'.encode('idna'); os.setgid(65534); os.setuid(65534)\n"
        f"s = socket.create_connection(('127.0.0.1', {port_of(served)}))\n"
        f"s.sendall({GET % port_of(served)!r}); print(s.recv(12).decode())"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "HTTP/1.0 403"
    assert looked.times == 0
    assert asked(served)[0] == 200


def test_who_cannot_be_told_is_a_stranger(served, monkeypatch, tmp_path):
    table = tmp_path / "tcp"
    monkeypatch.setitem(callers._TABLES, 4, table)
    assert owner(("127.0.0.1", 4000), ("127.0.0.1", 5000)) is None
    row = "   1: 0100007F:0FA0 0100007F:1388 {state} 00000000:00000000 00:00000000 00000000   {uid}  0 50638 2\n"
    expected = 1000 if sys.byteorder == "little" else None
    for state, uid, told in (("01", 1000, expected), ("06", 0, None), ("08", 1000, None)):
        table.write_text("  sl  local_address rem_address   st\n" + row.format(state=state, uid=uid))
        assert owner(("127.0.0.1", 4000), ("127.0.0.1", 5000)) == told
    assert asked(served)[0] == 403
