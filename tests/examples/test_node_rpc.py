"""What reaches the RPC of the example from outside: each request has an answer, or the connection an end."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from tests.examples.running import EXAMPLES


@pytest.fixture
def rpc(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(EXAMPLES / "node" / "1.0.0")
    yield importlib.import_module("minichain.rpc")
    for name in [name for name in sys.modules if name.partition(".")[0] == "minichain"]:
        del sys.modules[name]


def refuse(**_: object) -> None:
    raise ValueError("refused")


def answers(rpc: ModuleType, *requests: bytes) -> list[bytes]:
    """What the server says to each, on a connection of its own."""

    async def ask() -> list[bytes]:
        served = rpc.Rpc({"echo": lambda **given: given, "refuse": refuse}, lambda: "up 1\n")
        server = await asyncio.start_server(served.serve, "127.0.0.1", 0, limit=rpc.LARGEST_HEAD)
        port = server.sockets[0].getsockname()[1]
        found = []
        for request in requests:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            found.append(await reader.read())
            writer.close()
        server.close()
        return found

    return asyncio.run(ask())


def post(body: object, size: object = None) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"POST / HTTP/1.1\r\ncontent-length: %b\r\n\r\n%b" % (str(size or len(data)).encode(), data)


def error_of(answer: bytes) -> Any:
    return json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"]


def test_calls_are_answered_one_by_one_and_in_batches(rpc):
    call = {"jsonrpc": "2.0", "id": 7, "method": "echo", "params": {"a": 1}}
    one, batch, metrics = answers(rpc, post(call), post([call, call]), b"GET /metrics HTTP/1.1\r\n\r\n")
    told = {"jsonrpc": "2.0", "id": 7, "result": {"a": 1}}
    assert json.loads(one.partition(b"\r\n\r\n")[2]) == told
    assert json.loads(batch.partition(b"\r\n\r\n")[2]) == [told, told]
    assert metrics.endswith(b"\r\n\r\nup 1\n")


def test_what_is_no_call_is_told(rpc):
    cases = {
        b"{": -32700,
        b"[" * 100_000: -32700,
        b"\xff": -32700,
        b"5": -32600,
        b'{"method": "echo", "params": [1]}': -32600,
        b'{"method": ["echo"]}': -32601,
        b'{"method": "__init__"}': -32601,
        b'{"method": "refuse"}': -32602,
    }
    assert [error_of(answer) for answer in answers(rpc, *map(post, cases))] == list(cases.values())


def test_what_is_no_request_is_refused_and_the_next_one_answered(rpc):
    requests = (
        b"\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: many\r\n\r\n",
        post(b"", "-1"),
        post(b"", str(1 << 40)),
        b"x" * (64 << 10) + b"\r\n\r\n",
        b"GET /etc/passwd HTTP/1.1\r\n\r\n",
        post({"method": "echo"}),
    )
    status = [answer.partition(b"\r\n")[0].partition(b" ")[2][:3] for answer in answers(rpc, *requests)]
    assert status == [b"404", b"400", b"413", b"413", b"400", b"404", b"200"]


def test_a_client_that_sends_half_of_a_request_is_let_go(rpc, monkeypatch):
    monkeypatch.setattr(rpc, "PATIENCE", 0.05)
    assert answers(rpc, b"POST / HT", post({"method": "echo"}, 500)) == [b"", b""]
