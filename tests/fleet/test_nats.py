"""The engine for many machines: whom it lets in, and what becomes of it when the server dies."""

from __future__ import annotations

import builtins
import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.fleet.conftest import Server

from livepatch.errors import StateError
from livepatch.fleet.nats import NatsStore

pytestmark = pytest.mark.usefixtures("nats_needed")


@pytest.fixture
def started(tmp_path):
    servers = []

    def start(more=""):
        servers.append(Server(tmp_path, more))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def refused(*arguments, **options):
    with pytest.raises(StateError) as caught:
        NatsStore(*arguments, timeout=3, **options)
    assert caught.value.found
    assert caught.value.action


def used(*arguments, **options):
    store = NatsStore(*arguments, **options)
    store.put("a", b"1", expected=0)
    assert store.get("a").value == b"1"
    store.close()
    with pytest.raises(StateError, match="closed"):
        store.get("a")
    store.close()


def test_who_has_no_password_is_not_let_in(started):
    server = started('authorization { user: "fleet", password: "secret" }')
    refused(server.url)
    refused(server.url, user="fleet", password="guess")
    used(server.url, user="fleet", password="secret")


def as_documented():
    """The users that the documentation gives nodes and controllers."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "rollout.md").read_text(encoding="utf-8")
    _, _, block = text.partition("<!-- file: nats-users.conf -->\n```\n")
    return block.partition("```")[0].replace('"…"', '"secret"')


def test_a_node_s_user_reports_and_reads_and_commands_nobody(started):
    server = started(as_documented())
    whole = NatsStore(server.url, user="controller", password="secret")
    digest = whole.keep(b"a patch file")
    whole.put("told/r-1/directive", b"1", expected=0)
    whole.put("heard/r-1/commands/x", b"1", expected=0)
    node = NatsStore(server.url, user="node", password="secret", only="told", timeout=1)
    assert node.get("told/r-1/directive").value == b"1"
    assert node.fetch(digest) == b"a patch file"
    node.put("heard/r-1/nodes/n1", b"2", expected=None, ttl=60)
    node.put("measured/r-1/n1", b"3", expected=None)
    node.put("drills/d-1/n1", b"4", expected=None)
    assert [entry.key for entry in whole.entries("heard/r-1/nodes/")] == ["heard/r-1/nodes/n1"]
    whole.put("told/r-1/directive", b"2", expected=None)
    assert [entry.value for entry in node.changes("told/", 0, timeout=20)] == [b"2"]
    for attempt in (
        lambda: node.put("told/r-1/directive", b"9", expected=None),
        lambda: node.put("heard/r-1/commands/y", b"9", expected=None),
        lambda: node.put("heard/r-1/retired/n2", b"9", expected=None),
        lambda: node.keep(b"another file"),
        lambda: node.delete("told/r-1/directive", expected=None),
        lambda: node._call(node._stream.purge_stream("KV_livepatch")),
        lambda: node._call(node._stream.delete_stream("KV_livepatch")),
    ):
        with pytest.raises(StateError):
            attempt()
    assert whole.get("told/r-1/directive").value == b"2"
    assert [entry.key for entry in whole.entries("heard/")] == ["heard/r-1/commands/x", "heard/r-1/nodes/n1"]
    assert whole.fetch(digest) == b"a patch file"
    for store in (node, whole):
        store.close()


def certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nats")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def test_a_server_that_nobody_vouches_for_is_not_trusted(started, tmp_path):
    cert, key = certificate(tmp_path)
    server = started(f'tls {{ cert_file: "{cert}", key_file: "{key}" }}')
    url = server.url.replace("nats://", "tls://")
    refused(url, tls=ssl.create_default_context())
    used(url, tls=ssl.create_default_context(cafile=cert))


def test_a_server_that_is_killed_is_an_error_and_one_that_is_back_is_used_again(started):
    server = started()
    store = NatsStore(server.url, timeout=2)
    revision = store.put("a", b"1", expected=0)
    assert store.get("a").revision == revision
    server.kill()
    with pytest.raises(StateError):
        store.put("a", b"2", expected=revision)
    server.start()
    for _ in range(20):
        try:
            entry = store.get("a")
            break
        except StateError:
            continue
    assert (entry.value, entry.revision) == (b"1", revision)
    assert store.put("a", b"3", expected=revision) > revision
    assert [each.value for each in store.changes("", revision)] == [b"3"]
    store.close()


def test_what_the_library_stumbles_over_is_told_and_the_store_can_be_closed(started, monkeypatch):
    store = NatsStore(started().url, timeout=5)

    close = store._connection.close

    async def lost(*_, **__):
        raise AttributeError("'NoneType' object has no attribute '_add_writer'")

    async def lost_while_closing():
        await close()
        await lost()

    monkeypatch.setattr(store._connection, "close", lost_while_closing)
    monkeypatch.setattr(store._stream, "stream_info", lost)
    with pytest.raises(StateError, match="_add_writer") as caught:
        store.get("a")
    assert isinstance(caught.value.__cause__, AttributeError)
    store.close()
    assert not store._thread.is_alive()


def test_nobody_listens(tmp_path):
    refused("nats://127.0.0.1:1")


def test_without_nats_py_it_is_said_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "nats":
            raise ImportError("No module named 'nats'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(StateError, match=r"livepatch\[nats\]"):
        NatsStore("nats://127.0.0.1:1")
