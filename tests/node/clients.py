"""A small client, as pip installs it, and signed files that fix it."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from tests.signing import key, trust_root

import livepatch
from livepatch.bundle.envelope import PATCH_TYPE, Envelope
from livepatch.bundle.signing import sign

SOURCE = textwrap.dedent('''\
    """Transactions, and who waits for them."""

    import threading

    gate = threading.Event()


    def admit(size):
        return "admitted"


    def fee(size):
        return size


    def wait():
        gate.wait(20)
        return "old"
''')
ADMIT = ('return "admitted"', 'return "refused" if size > 10 else "admitted"')
FEE = ("    return size\n", "    return size * 2\n")
WAIT = ('return "old"', 'return "new"')
PACKAGE = "poolclient"
PROBE = """\
from poolclient import pool

def vulnerable():
    return pool.admit(11) == "admitted"
"""
_made: dict[tuple[object, ...], bytes] = {}


class Client:
    """Its module, and files of patches for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.package = PACKAGE
        self.root = trust_root(package=self.package)
        self._write(folder / "old", SOURCE, "1.0")
        sys.path.insert(0, str(folder / "old"))
        importlib.invalidate_caches()
        self.module: ModuleType
        self.load()

    def _write(self, root: Path, source: str, version: str) -> None:
        metadata = root / f"{self.package}-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir(parents=True)
        metadata.write_text(f"Metadata-Version: 2.1\nName: {self.package}\nVersion: {version}\n")
        (root / self.package).mkdir()
        (root / self.package / "__init__.py").touch()
        (root / self.package / "pool.py").write_text(source, encoding="utf-8")

    def fix(
        self,
        name: str,
        *changes: tuple[str, str],
        signers: str = "alice carol erin",
        compatible_with: str = "",
        probed: bool = False,
    ) -> Path:
        """The path of a patch file that makes those changes, signed; with :data:`PROBE` if it is to be `probed`."""
        path = self.folder / f"{name}.lpatch"
        known = (name, changes, signers, compatible_with, probed)
        if known not in _made:
            _made[known] = self._signed(name, changes, signers.split(), compatible_with, probed=probed)
        path.write_bytes(_made[known])
        return path

    def _signed(
        self, name: str, changes: Iterable[tuple[str, str]], signers: list[str], compatible_with: str, *, probed: bool
    ) -> bytes:
        source = SOURCE
        for before, after in changes:
            assert before in source
            source = source.replace(before, after)
        new = self.folder / f"new-{name}"
        self._write(new, source, "1.1")
        probes = [livepatch.Probe(name="size", source=PROBE, safe=True)] if probed else []
        made = livepatch.build(self.folder / "old", new, package=self.package, id=name, versions="==1.0", probes=probes)
        made.compatible_with = compatible_with
        envelope = Envelope(payload_type=PATCH_TYPE, payload=made.to_bytes())
        for signer in signers:
            envelope = sign(envelope, key(signer))
        return envelope.to_bytes() if signers else made.to_bytes()

    def load(self) -> None:
        """Import it."""
        self.module = importlib.import_module(f"{self.package}.pool")

    def forget(self) -> None:
        """As if it had never been there."""
        sys.path.remove(str(self.folder / "old"))
        self.unload()

    def unload(self) -> None:
        """As before it was imported."""
        for name in [each for each in sys.modules if each.partition(".")[0] == self.package]:
            del sys.modules[name]
