# /// case
# id = "CVE-2025-43859"
# package = "h11"
# vulnerable = "0.15.0"
# fixed = "0.16.0"
# what = "two bytes of any kind pass as the end of a chunk (request smuggling)"
# shape = "an attribute of live objects takes values of another type"
# modules = ["h11"]
# expect = "refused"
# ///
"""The two bytes after a chunk were counted and not read.

What was a number of bytes to skip is now the text to expect.  A connection that stands between a chunk and its end
holds the number, on which the new code calls len(): to go on would break the requests that are under way.
"""

from h11 import SERVER, Connection, Data, EndOfMessage, RemoteProtocolError

HEAD = b"POST / HTTP/1.1\r\nhost: node.example\r\ntransfer-encoding: chunked\r\n\r\n"


def _connection(received: bytes) -> Connection:
    connection = Connection(SERVER)
    connection.receive_data(received)
    connection.next_event()
    return connection


def _rest(connection: Connection, received: bytes) -> bytes:
    connection.receive_data(received)
    body = b""
    while not isinstance(event := connection.next_event(), EndOfMessage):
        assert isinstance(event, Data)
        body += event.data
    return body


def _half_read() -> Connection:
    connection = _connection(HEAD + b"3\r\nabc")
    assert connection.next_event().data == b"abc"
    return connection


OPEN = [_half_read() for _ in range(8)]


def exploit() -> bool:
    try:
        return _rest(_connection(HEAD), b"3\r\nabcXX0\r\n\r\n") == b"abc"
    except RemoteProtocolError:
        return False


def regression() -> None:
    assert _rest(_connection(HEAD), b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n") == b"abcde"
    assert _rest(OPEN.pop(), b"\r\n0\r\n\r\n") == b""
