"""Where a fleet's store is, as an operator writes it."""

from __future__ import annotations

import pytest

from livepatch.errors import StateError
from livepatch.fleet.onefile import OneFile
from livepatch.fleet.opening import Where, default_store


def test_a_path_is_a_file(tmp_path):
    for path in (tmp_path / "fleet.db", tmp_path / "nats"):
        where = Where(store=str(path))
        assert not where.is_server
        assert str(where) == str(path)
        store = where.opened(only="told")
        assert isinstance(store, OneFile)
        store.close()


@pytest.mark.parametrize(
    "changes",
    [{"store": "http://x"}, {"store": "redis://x"}, {"ca": "ca.pem"}, {"credentials": "x"}],
)
def test_what_fits_no_store_is_refused(tmp_path, changes):
    with pytest.raises(StateError) as caught:
        Where(**{"store": str(tmp_path / "fleet.db"), **changes}).opened()
    assert caught.value.found
    assert caught.value.action
    assert list(tmp_path.iterdir()) == []


def test_a_password_is_not_shown():
    where = Where(store="nats://fleet:secret@a:4222/bucket,nats://b:4222")
    assert where.is_server
    assert str(where) == "nats://a:4222/bucket,nats://b:4222"


def test_certificates_that_are_not_there(nats_needed, tmp_path):
    with pytest.raises(StateError, match="certificate cannot be read") as caught:
        Where(store="tls://127.0.0.1:1", ca=str(tmp_path / "none.pem")).opened()
    assert "No such file" in caught.value.found


def test_a_server_and_its_bucket(nats_server):
    store = Where(store=f"{nats_server.url}/opening").opened()
    store.put("told/a", b"1", expected=0)
    other = Where(store=f"{nats_server.url}/opening,{nats_server.url}").opened(only="told")
    assert other.get("told/a").value == b"1"
    for each in (store, other):
        each.close()


def test_the_default(monkeypatch):
    monkeypatch.delenv("LIVEPATCH_FLEET", raising=False)
    assert default_store() == ""
    monkeypatch.setenv("LIVEPATCH_FLEET", "x.db")
    assert default_store() == "x.db"
