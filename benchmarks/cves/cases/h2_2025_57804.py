# /// case
# id = "CVE-2025-57804"
# package = "h2"
# vulnerable = "4.2.0"
# fixed = "4.3.0"
# what = "a header's value may contain line ends (request splitting behind a gateway)"
# shape = "generators, one of them new"
# requires = ["hpack==4.1.0", "hyperframe==6.1.0"]
# modules = ["h2", "h2.connection"]
# only = ["h2.utilities:validate_headers", "h2.utilities:_reject_illegal_characters"]
# ///
"""HTTP/2 frames carry any byte; a gateway that writes HTTP/1.1 turns it into another header, or another request."""

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from h2.exceptions import ProtocolError


def _received(*more: tuple[str, str]) -> list[tuple[bytes, bytes]]:
    careless = H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
    client = H2Connection(careless)
    server = H2Connection(H2Configuration(client_side=False))
    client.initiate_connection()
    headers = [(":method", "GET"), (":scheme", "https"), (":authority", "node.example"), (":path", "/"), *more]
    client.send_headers(1, headers, end_stream=True)
    events = server.receive_data(client.data_to_send())
    (request,) = [event for event in events if isinstance(event, RequestReceived)]
    return [tuple(header) for header in request.headers]


def exploit() -> bool:
    try:
        return (b"x-a", b"1\r\nx-admin: 1") in _received(("x-a", "1\r\nx-admin: 1"))
    except ProtocolError:
        return False


def regression() -> None:
    assert (b"x-a", b"1") in _received(("x-a", "1"))
    try:
        _received(("X-A", "1"))
    except ProtocolError:
        return
    raise AssertionError("an upper case name was accepted")
