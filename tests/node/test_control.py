"""The control socket: whoever connects, however they behave, it goes on answering those who may ask."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import socket
import stat
import struct
import threading
import time
from pathlib import Path

import pytest
from tests.test_fork import in_child

from livepatch.errors import LivepatchError, NodeError, PatchError, PolicyError
from livepatch.node import control as controls
from livepatch.node.client import Node
from livepatch.node.control import Control
from livepatch.node.places import SOCKET, sockets
from livepatch.node.protocol import (
    LENGTH,
    LIMITS,
    Apply,
    Cancel,
    Check,
    Hello,
    Revert,
    Status,
    Verify,
    read_answer,
    request_bytes,
)

IMPATIENT = dataclasses.replace(LIMITS, receiving=0.3, sending=0.3, idle=0.5, connections=4)
OWN = frozenset({os.geteuid()})
HELLO = Hello()


class Program:
    """Answers requests, each in a way of its own."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.under_way = threading.Semaphore(0)
        self.peers: list[str] = []

    def __call__(self, request, parts, peer, tell):
        self.peers.append(peer.name)
        match request:
            case Hello():
                return {"pid": peer.pid, "uid": peer.uid}
            case Check():
                return {"parts": [len(part) for part in parts]}
            case Cancel():
                raise PatchError("no", found="f", expected="e", action="a")
            case Verify():
                raise ZeroDivisionError
            case Revert():
                told = 0
                while tell({"told": told}) and told < 100:
                    told += 1
                    time.sleep(0.001)
                return {"told": told}
            case Apply():
                self.under_way.release()
                self.gate.wait(20)
                return {"waited": True}
        return {}


@pytest.fixture
def program():
    made = Program()
    yield made
    made.gate.set()


@pytest.fixture
def path(tmp_path):
    return tmp_path / SOCKET


@pytest.fixture
def control(path, program):
    made = Control(path, program, uids=OWN, limits=IMPATIENT)
    yield made
    program.gate.set()
    made.close()


def ask(path, request=HELLO, *parts):
    with Node(path, margin=10.0) as node:
        return node.ask(request, parts)


_connected: list[socket.socket] = []


def connect(path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    _connected.append(made)
    made.settimeout(10)
    with controls.reachable(path) as address:
        made.connect(address)
    return made


@pytest.fixture(autouse=True)
def connections_are_closed():
    yield
    for each in _connected:
        each.close()
    _connected.clear()


def ended(connection: socket.socket) -> bool:
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True  # or it would have taken too long


def test_it_answers_and_knows_who_asks(control, path, program):
    assert ask(path) == {"pid": os.getpid(), "uid": os.geteuid()}
    assert program.peers[0].startswith("user ")


def test_one_connection_may_ask_again(control, path):
    with Node(path) as node:
        for _ in range(3):
            assert node.ask(Hello())["pid"] == os.getpid()
        assert node.ask(Check(), (b"x" * 300_000, b"yy")) == {"parts": [300_000, 2]}
        with pytest.raises(PatchError, match="no; found: f; expected: e; do: a"):
            node.ask(Cancel(id="A"))
        assert node.ask(Hello())["pid"] == os.getpid()


def test_a_program_that_fails_is_told_of_without_its_words(control, path):
    with pytest.raises(NodeError, match="ZeroDivisionError"):
        ask(path, Verify())
    assert ask(path)


def test_progress_is_told_while_it_goes_on(control, path):
    seen = []
    with Node(path) as node:
        done = node.ask(Revert(id="A"), on_progress=seen.append)
    assert done["told"] == 100
    assert len(seen) == 101


def test_who_leaves_while_progress_is_told_ends_it(control, path, program):
    connection = connect(path)
    connection.sendall(request_bytes(Revert(id="A")))
    connection.recv(10)
    connection.close()
    until(lambda: not control._connections)


def test_who_asks_hears_that_a_long_request_is_worked_on(path, program):
    made = Control(path, program, uids=OWN, limits=dataclasses.replace(IMPATIENT, pulse=0.05))
    seen = []
    opening = threading.Timer(1.0, program.gate.set)
    opening.start()
    try:
        with Node(path, margin=0.4) as node:  # less than the work takes
            assert node.ask(Apply(timeout=0, drain=0), (b"",), on_progress=seen.append) == {"waited": True}
            assert node.ask(HELLO)["pid"] == os.getpid()
    finally:
        opening.join()
        made.close()
    worked = [each["at_work_ms"] for each in seen]
    assert len(worked) > 5
    assert worked == sorted(worked)


def test_a_request_that_tells_of_itself_has_nothing_told_between(path, program):
    made = Control(path, program, uids=OWN, limits=dataclasses.replace(IMPATIENT, pulse=0.03))
    seen = []
    try:
        with Node(path) as node:
            node.ask(Revert(id="A"), on_progress=seen.append)
    finally:
        made.close()
    assert len(seen) == 101
    assert all(set(each) == {"told"} for each in seen)


def test_nothing_is_told_of_work_that_is_done(path, program):
    made = Control(path, program, uids=OWN, limits=dataclasses.replace(IMPATIENT, pulse=0.0002))
    try:
        with Node(path) as node:
            for _ in range(300):
                assert node.ask(HELLO)["pid"] == os.getpid()
    finally:
        made.close()


def until(holds) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


# Who may


def test_the_socket_is_the_user_s_alone(control, path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == [SOCKET]


def test_another_user_is_refused(path, program):
    made = Control(path, program, uids={os.geteuid() + 1}, limits=IMPATIENT)
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        with pytest.raises(PolicyError, match=f"found: uid {os.geteuid()}"):
            ask(path)
        assert program.peers == []
    finally:
        made.close()


NOBODY = 65_534


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("named", [True, False])
def test_the_system_says_who_it_is(path, program, named):
    path.parent.chmod(0o755)
    made = Control(path, program, uids={0, NOBODY} if named else {0})
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)

    def child() -> None:
        os.setuid(NOBODY)
        if named:
            assert ask(Path(f"/proc/self/fd/{folder}") / path.name)["uid"] == NOBODY
            return
        with pytest.raises(NodeError, match="Permission denied"):
            ask(Path(f"/proc/self/fd/{folder}") / path.name)

    try:
        in_child(child)
    finally:
        os.close(folder)
        made.close()


# Where


def test_a_long_path_can_be_reached(tmp_path, program):
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    made = Control(folder / SOCKET, program, uids=OWN)
    try:
        assert ask(folder / SOCKET)
    finally:
        made.close()
    assert list(folder.iterdir()) == []


def test_no_second_one_listens_there(control, path, program):
    with pytest.raises(NodeError, match="on which a process listens"):
        Control(path, program, uids=OWN)
    assert ask(path)
    assert [each.name for each in path.parent.iterdir()] == [SOCKET]


def test_what_a_dead_process_left_is_replaced(path, program):
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with controls.reachable(path) as address:
        left.bind(address)
    left.close()
    made = Control(path, program, uids=OWN)
    try:
        assert ask(path)
    finally:
        made.close()


def test_nothing_else_is_replaced(path, program):
    path.write_text("kept")
    with pytest.raises(NodeError, match="no socket"):
        Control(path, program, uids=OWN)
    assert path.read_text() == "kept"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("wrong", ["nowhere/control.sock", "a\0b"])
def test_a_place_where_none_can_be_is_told(tmp_path, program, wrong):
    with pytest.raises(NodeError, match="cannot be opened"):
        Control(tmp_path / wrong, program, uids=OWN)


def test_a_folder_that_everybody_writes_to_is_refused(tmp_path, program):
    tmp_path.chmod(0o777)
    with pytest.raises(NodeError, match="everybody may write to"):
        Control(tmp_path / SOCKET, program, uids=OWN)
    assert list(tmp_path.iterdir()) == []


def test_it_leaves_nothing_and_takes_nobody_else_s(control, path):
    path.unlink()
    path.write_text("another's")
    control.close()
    control.close()
    assert path.read_text() == "another's"


def test_nodes_are_found_by_folder_and_pattern(tmp_path, program):
    made = []
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        made.append(Control(tmp_path / name / SOCKET, program, uids=OWN))
    try:
        a, b = tmp_path / "a" / SOCKET, tmp_path / "b" / SOCKET
        assert sockets(str(a)) == sockets(str(tmp_path / "a")) == (a,)
        assert sockets(str(tmp_path)) == sockets(str(tmp_path / "*")) == sockets(f"{tmp_path}/[ab]/*.sock") == (a, b)
        for wrong in (str(tmp_path / "c"), str(tmp_path / "*.txt"), "a\0b", ""):
            with pytest.raises(NodeError, match="there is no node"):
                sockets(wrong)
    finally:
        for each in made:
            each.close()


def test_nobody_there_is_told(path):
    with pytest.raises(NodeError, match="cannot be reached"):
        Node(path)


# Slow, huge, half and hostile


def test_who_says_nothing_is_let_go(control, path):
    assert ended(connect(path))
    until(lambda: not control._connections)


def test_who_is_slow_is_let_go(control, path):
    connection = connect(path)
    begun = time.monotonic()
    data = request_bytes(Hello())
    with contextlib.suppress(OSError):
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)
    assert time.monotonic() - begun < 0.05 * len(data)
    assert ask(path)


def test_who_does_not_listen_is_let_go(control, path):
    connection = connect(path)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    asked = request_bytes(Status())
    connection.settimeout(0.2)
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(asked)
    until(lambda: not control._connections)
    assert ask(path)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff\xff\xff" + b"x" * 100_000,
        b"\0\0\0\2[]",
        b"\0\0\0\2{}" + b"x" * 3_000_000,
        request_bytes(Hello(), version=9),
    ],
)
def test_what_is_no_request_is_told_so_and_ends(control, path, data):
    connection = connect(path)
    with contextlib.suppress(ConnectionError):
        connection.sendall(data)
    told = b""
    with contextlib.suppress(ConnectionError):
        while chunk := connection.recv(1 << 16):
            told += chunk
    if told or len(data) < 100_000:  # who sends on and on may never hear it
        kind, value = read_answer(told[LENGTH:])
        assert kind == "error"
        assert value["kind"] == "NodeError"
    assert ask(path)


def test_the_oldest_idle_one_makes_room(control, path):
    idle = [connect(path) for _ in range(IMPATIENT.connections)]
    until(lambda: len(control._connections) == IMPATIENT.connections)
    with Node(path) as node:
        assert node.ask(Hello())
        idle[0].settimeout(0.2)
        assert ended(idle[0])


def test_who_has_something_under_way_makes_no_room(control, path, program):
    busy = [connect(path) for _ in range(IMPATIENT.connections)]
    for each in busy:
        each.sendall(request_bytes(Apply(), (b"x",)))
        assert program.under_way.acquire(timeout=10)
    with pytest.raises(NodeError, match="busy with other requests"):
        ask(path)
    program.gate.set()
    for each in busy:
        assert read_answer(each.recv(1 << 16)[LENGTH:]) == ("result", {"waited": True})
    until(lambda: all(each.idle for each in control._connections))
    assert ask(path)


def test_not_more_is_held_than_there_is_room_for(control, path, program, monkeypatch):
    monkeypatch.setattr(controls, "_HELD", 1000)
    busy = connect(path)
    busy.sendall(request_bytes(Apply(), (b"x" * 900,)))
    assert program.under_way.acquire(timeout=10)
    with pytest.raises(NodeError, match="found: 900 bytes of other requests"):
        ask(path, Check(), b"x" * 200)
    assert ask(path, Check(), b"x" * 50) == {"parts": [50]}
    program.gate.set()
    busy.recv(1 << 16)
    until(lambda: control._held == 0)


def test_an_answer_that_is_too_long_is_told_so(path):
    made = Control(path, lambda *_: {"x": "y" * 2000}, uids=OWN, limits=dataclasses.replace(LIMITS, answer=1000))
    try:
        with pytest.raises(NodeError, match="the answer is too long"):
            ask(path)
    finally:
        made.close()


def test_a_close_waits_for_what_is_under_way(control, path, program):
    asked = connect(path)
    asked.sendall(request_bytes(Apply(), (b"x",)))
    assert program.under_way.acquire(timeout=10)
    threading.Timer(0.1, program.gate.set).start()
    control.close()
    assert read_answer(asked.recv(1 << 16)[LENGTH:]) == ("result", {"waited": True})
    assert not path.exists()
    with pytest.raises(NodeError):
        Node(path)


def test_a_program_that_closes_all_files_keeps_what_it_has_opened_since(path, program):
    control = Control(path, program, uids=OWN, limits=IMPATIENT)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        number = control._listener.fileno()
        os.dup2(ours.fileno(), number)
        in_child(lambda: os.fstat(number))
        control.close()
        theirs.sendall(b"x")
        assert ours.recv(1) == b"x"  # it was not shut down
        assert not control._thread.is_alive()
        os.close(number)
    assert not path.exists()


def test_a_child_does_not_keep_it(control, path):
    kept = connect(path)
    kept.sendall(request_bytes(Hello()))
    kept.recv(1 << 16)

    def child() -> None:
        assert control._listener.fileno() == -1
        assert not control._connections
        control.close()

    in_child(child)
    assert path.exists()
    kept.sendall(request_bytes(Hello()))
    assert kept.recv(1 << 16)
    assert ask(path)


# Any bytes at all


def hostile(dice: random.Random) -> bytes:
    sound = [request_bytes(Hello()), request_bytes(Check(), (b"file", b"more")), request_bytes(Cancel(id="A"))]
    kind = dice.randrange(6)
    if kind == 0:
        return dice.randbytes(dice.randrange(200))
    if kind == 1:
        return struct.pack(">I", dice.randrange(2, 400)) + dice.randbytes(dice.randrange(400))
    if kind == 2:
        whole = dice.choice(sound)
        return whole[: dice.randrange(len(whole))]
    if kind == 3:
        data = bytearray(dice.choice(sound))
        for _ in range(dice.randrange(1, 5)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        return bytes(data)
    if kind == 4:
        text = b"[" * dice.randrange(1, 5000)
        return struct.pack(">I", len(text)) + text
    return dice.choice(sound) + dice.randbytes(dice.randrange(50))


def fuzz(path: Path, messages: int, half_open: int) -> None:
    dice = random.Random(messages)
    held: list[socket.socket] = []
    for number in range(messages):
        if half_open and number % max(messages // half_open, 1) == 0:
            held.append(connect(path))
            if dice.random() < 0.5:
                held[-1].sendall(b"\0\0")
        connection = connect(path)
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.send(hostile(dice))
            if dice.random() < 0.2:
                connection.recv(100)
        connection.close()
        if number % 50 == 0:
            assert ask(path)["pid"] == os.getpid()
    for each in held:
        each.close()
    assert ask(path)["pid"] == os.getpid()


def test_it_answers_throughout_whatever_comes(control, path):
    fuzz(path, 200, 50)
    until(lambda: control._held == 0 and len(control._connections) <= 1)


@pytest.mark.slow
def test_it_answers_throughout_whatever_comes_for_long(control, path):
    threads = threading.active_count()
    fuzz(path, 10_000, 1_000)
    until(lambda: control._held == 0 and len(control._connections) <= 1)
    until(lambda: threading.active_count() <= threads + 1)


def test_every_refusal_says_all_three(control, path):
    for data in (b"GET ", b"\0\0\0\2{}"):
        connection = connect(path)
        connection.sendall(data)
        _, told = read_answer(connection.recv(1 << 16)[LENGTH:])
        assert all(told[part] for part in ("found", "expected", "action"))


def test_a_node_that_answers_with_nonsense_is_told_so(path):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with controls.reachable(path) as address:
        listener.bind(address)
    listener.listen()

    def answer(data: bytes) -> None:
        connection, _ = listener.accept()
        connection.recv(1 << 16)
        connection.sendall(data)
        connection.close()

    for data in (b"", b"\0", b"\xff\xff\xff\xff", b"\0\0\0\2[]", b'\0\0\0\x1b{"protocol":1,"error":{"a":1}}'):
        thread = threading.Thread(target=answer, args=(data,))
        thread.start()
        with pytest.raises(LivepatchError):
            ask(path)
        thread.join()
    listener.close()
