"""Patch files out of a TUF repository that the test makes: the good one comes, and what an attacker serves does not."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
import time
from pathlib import Path

import pytest
from tests.signing import key, patch_envelope, trust_root

import livepatch
from livepatch.errors import TrustError

pytest.importorskip("tuf", reason="needs the extra tuf")

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient import FetcherInterface

from livepatch.bundle.envelope import LARGEST_FILE
from livepatch.integrations.tuf import Repository

NAME = "CVE-2026-1234.lpatch"
GOOD = patch_envelope().to_bytes()
SOON = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(days=1)
PAST = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
ROLES = ("root", "timestamp", "snapshot", "targets")


class Server(FetcherInterface):
    """A repository, and the server that hands it out: each of its files is bytes, or what yields them."""

    def __init__(self) -> None:
        self.files: dict[str, object] = {}
        self.asked: list[str] = []
        self.signers = {role: CryptoSigner(key(f"tuf-{role}").private) for role in ROLES}
        self.root = Root(expires=SOON, consistent_snapshot=False)
        for role, signer in self.signers.items():
            self.root.add_key(signer.public_key, role)
        self.timestamp, self.snapshot, self.targets = (
            Timestamp(expires=SOON),
            Snapshot(expires=SOON),
            Targets(expires=SOON),
        )
        self.root_bytes = self.signed("root", self.root)
        self.publish(NAME, GOOD)

    def signed(self, role: str, content) -> bytes:
        metadata = Metadata(content)
        metadata.sign(self.signers[role])
        data: bytes = metadata.to_bytes()
        return data

    def publish(self, name: str, data: bytes) -> None:
        """A new version of everything, with that file in it."""
        self.files[f"targets/{name}"] = data
        self.targets.targets[name] = TargetFile.from_data(name, data)
        self.release()

    def release(self) -> None:
        for role, content in (("targets", self.targets), ("snapshot", self.snapshot), ("timestamp", self.timestamp)):
            content.version += 1
            self.snapshot.meta["targets.json"].version = self.targets.version
            self.timestamp.snapshot_meta.version = self.snapshot.version
            self.files[f"metadata/{role}.json"] = self.signed(role, content)

    def _fetch(self, url: str):
        path = url.removeprefix("https://updates.example/")
        self.asked.append(path)
        if path not in self.files:
            raise DownloadHTTPError("not found", 404)
        data = self.files[path]
        return iter([data]) if isinstance(data, bytes) else data()


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def repository(server, tmp_path):
    return at(server, tmp_path)


def at(server: Server, folder: Path, timeout: float = 20) -> Repository:
    return Repository(
        metadata_url="https://updates.example/metadata",
        targets_url="https://updates.example/targets",
        root=server.root_bytes,
        folder=folder,
        timeout=timeout,
        fetcher=server,
    )


def test_a_signed_patch_comes_and_is_kept(server, repository):
    fix = repository.load(NAME, trust=trust_root())
    assert fix.origin is not None
    assert fix.origin.verified
    assert Path(fix.origin.path).read_bytes() == GOOD
    repository.load(NAME, trust=trust_root())
    assert server.asked.count(f"targets/{NAME}") == 1


def test_a_new_revision_takes_the_place_of_the_old_one(server, repository):
    repository.load(NAME, trust=trust_root())
    server.publish(NAME, patch_envelope(release={"revision": 2}).to_bytes())
    assert repository.load(NAME, trust=trust_root()).release.revision == 2


def test_the_repository_alone_is_not_trusted(server, repository):
    """Who holds all keys of the repository still cannot sign a patch."""
    server.publish(NAME, patch_envelope(signers=("mallory",)).to_bytes())
    with pytest.raises(TrustError, match="author: 0 of 1"):
        repository.load(NAME, trust=trust_root())
    server.publish(NAME, patch_envelope().payload)
    with pytest.raises(TrustError, match="is not signed"):
        repository.load(NAME, trust=trust_root())


# What an attacker between the node and the repository may serve


def arbitrary(server):
    server.files[f"targets/{NAME}"] = b"x" * len(GOOD)


def endless(server):
    server.files[f"targets/{NAME}"] = lambda: itertools.repeat(b"x" * 65_536)


def endless_metadata(server):
    server.files["metadata/timestamp.json"] = lambda: itertools.repeat(b"x" * 4096)


def too_large(server):
    target = server.targets.targets[NAME]
    target.length = LARGEST_FILE + 1
    server.release()


def frozen(server):
    server.timestamp.expires = PAST
    server.release()


def gone(server):
    server.files.clear()


def mixed(server):
    """The snapshot of one moment, the targets of another."""
    old = server.files["metadata/targets.json"]
    server.publish(NAME, patch_envelope(release={"revision": 2}).to_bytes())
    server.files["metadata/targets.json"] = old


def wrong_file(server):
    server.publish("other.lpatch", patch_envelope(id="CVE-2026-9999", flag="x").to_bytes())
    server.files[f"targets/{NAME}"] = server.files["targets/other.lpatch"]


def forged(server):
    server.signers["targets"] = CryptoSigner(key("mallory").private)
    server.release()


def not_offered(server):
    del server.targets.targets[NAME]
    server.release()


def garbage(server):
    server.files["metadata/timestamp.json"] = b"<html>sorry</html>"


@pytest.mark.parametrize(
    ("attack", "told"),
    [
        (arbitrary, "LengthOrHashMismatchError"),
        (endless, "DownloadLengthMismatchError"),
        (endless_metadata, "DownloadLengthMismatchError"),
        (too_large, "patch files have"),
        (frozen, "ExpiredMetadataError"),
        (gone, "DownloadHTTPError"),
        (mixed, "BadVersionNumberError"),
        (wrong_file, "LengthOrHashMismatchError"),
        (forged, "UnsignedMetadataError"),
        (not_offered, "no file of that name"),
        (garbage, "DeserializationError"),
    ],
)
def test_what_an_attacker_serves_is_refused(server, repository, attack, told):
    attack(server)
    with pytest.raises(TrustError, match=told) as error:
        repository.load(NAME, trust=trust_root())
    assert error.value.action


def test_a_rollback_is_noticed(server, repository):
    before = dict(server.files)
    server.publish(NAME, patch_envelope(release={"revision": 2}).to_bytes())
    repository.load(NAME, trust=trust_root())
    server.files = before
    with pytest.raises(TrustError, match="BadVersionNumberError"):
        repository.load(NAME, trust=trust_root())


@pytest.mark.parametrize("pause", [0.02, 30.0])
def test_slow_retrieval_ends_in_time(server, tmp_path, pause):
    """A byte now and then, or silence: no timeout between two bytes ends the first."""
    stop = threading.Event()

    def drip():
        for byte in GOOD:
            stop.wait(pause)
            yield bytes([byte])

    server.files[f"targets/{NAME}"] = drip
    begun = time.monotonic()
    try:
        with pytest.raises(TrustError, match=r"SlowRetrievalError|nothing whole after 0\.3 seconds"):
            at(server, tmp_path, timeout=0.3).load(NAME, trust=trust_root())
    finally:
        stop.set()
    assert time.monotonic() - begun < 5
    assert not (tmp_path / "targets" / NAME).exists()
    for thread in threading.enumerate():
        if thread.name == "livepatch-tuf":
            thread.join(10)
            assert not thread.is_alive()


def test_arguments_are_checked(tmp_path):
    for change, error in (({"root": "text"}, TypeError), ({"timeout": -1}, livepatch.PatchError)):
        with pytest.raises(error):
            Repository(**{"metadata_url": "a", "targets_url": "b", "root": b"", "folder": tmp_path, **change})
    with pytest.raises(TrustError, match="DeserializationError"):
        Repository(metadata_url="a", targets_url="b", root=b"{}", folder=tmp_path).fetch(NAME)
