"""What the demo stands on: nodes of the example chain that follow one store, controllers, and what people type."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

NODE = Path(__file__).resolve().parents[1] / "node"
sys.path.insert(0, str(NODE))

from network import PATIENCE, Network  # noqa: E402  # the path comes first

from livepatch.cli.main import main as command  # noqa: E402

ROLES = {"root": "root", "author": "alice", "security-reviewer": "carol", "operator": "erin"}
LATER = "2199-01-01T00:00:00Z"


def quietly(*words: object) -> str:
    """What ``livepatch WORDS`` prints.  Raises RuntimeError unless its status is 0."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = command([str(word) for word in words])
    if status:
        raise RuntimeError(f"livepatch {' '.join(map(str, words))}: status {status}\n{printed.getvalue()}")
    return printed.getvalue()


class Patches:
    """Keys, a trust root, and signed patch files for the chain, in a folder.  See examples/signed_patch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trust = folder / "trust.json"
        for name in ROLES.values():
            quietly("keygen", folder / name)
        added = [word for role, name in ROLES.items() for word in ("--add", f"{role}={folder / name}.pub")]
        quietly("trust", "init", self.trust, "--package", "minichain", "--expires", LATER, *added)
        quietly("trust", "sign", self.trust, "--key", folder / "root")

    def good(self, name: str) -> Path:
        """The fix of the pool of transactions, from the release that has it."""
        return self._built(name, NODE / "1.0.1")

    def bad(self, name: str) -> Path:
        """The same fix by somebody who has got a comparison wrong: it refuses every transaction that may go in."""
        wrong = self.folder / f"{name}-tree"
        shutil.copytree(NODE / "1.0.1", wrong)
        pool = wrong / "minichain" / "mempool.py"
        pool.write_text(
            pool.read_text().replace("transaction.nonce <= sender.nonce:", "transaction.nonce > sender.nonce:")
        )
        return self._built(name, wrong)

    def unsigned(self, name: str) -> Path:
        """A file that only its author has signed: no node takes it."""
        return self._built(name, NODE / "1.0.1", signers=("alice",))

    def rules(self, name: str) -> Path:
        """The fix of the rules by which blocks are valid: a consensus change, for an activation height."""
        return self._built(name, NODE / "1.0.1", only="minichain.consensus")

    def _built(
        self,
        name: str,
        new: Path,
        signers: tuple[str, ...] = ("alice", "carol", "erin"),
        only: str = "minichain.mempool",
    ) -> Path:
        file = self.folder / f"{name}.lpatch"
        parts = [
            "--package",
            "minichain",
            "--id",
            name,
            "--only",
            only,
            "--expires",
            "2198-01-01T00:00:00Z",
        ]
        quietly("build", NODE / "1.0.0", new, *parts, "--compatible-with", ">=1.0,<1.1", "-o", file)
        for each in signers:
            quietly("sign", file, "--key", self.folder / each)
        return file


class Fleet:
    """So many nodes, in chains of a few, which follow one store; and payments that go to all of them."""

    def __init__(
        self,
        folder: Path,
        trust: Path,
        store: str,
        nodes: int,
        *,
        chain: int = 4,
        patience: float = PATIENCE,
        pay_every: float = 0.3,
        **settings: object,
    ) -> None:
        self.folder = folder
        self.store = store
        self.pay_every = pay_every
        given = {"block_time": 0.5, "guard": 1.0, "fleet": store, "fleet_ttl": 6.0, "trust": str(trust), **settings}
        sizes = [min(chain, nodes - begin) for begin in range(0, nodes, chain)]
        self.chains = [
            Network(folder / f"chain-{number}", size, prefix=f"c{number}", patience=patience, **given)
            for number, size in enumerate(sizes)
        ]
        self.places = {name: (each, number) for each in self.chains for number, name in enumerate(each.names)}
        self._controllers: dict[str, subprocess.Popen[bytes]] = {}
        self._paying = threading.Event()
        self._payers = [threading.Thread(target=self._pay, args=(each,), daemon=True) for each in self.chains]

    def inventory(self) -> Path:
        """The nodes, and how high the highest chain is, as the planner wants them."""
        file = self.folder / "nodes.json"
        nodes = [{"id": name, "version": "1.0.0"} for name in self.places]
        height = max(height for each in self.chains for height in each.heights())
        file.write_text(json.dumps({"nodes": nodes, "height": height}))
        return file

    def __enter__(self) -> Self:
        try:
            for each in self.chains:
                each.__enter__()
            for each in self.chains:
                each.wait_for_height(1)
        except BaseException:  # also Ctrl-C: no node is left behind
            for each in self.chains:
                each.__exit__()
            raise
        for payer in self._payers:
            payer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._paying.set()
        for payer in self._payers:
            payer.join(5.0)
        for name in list(self._controllers):
            self.kill_controller(name)
        for each in self.chains:
            each.__exit__()

    def _pay(self, chain: Network) -> None:
        """One payment after the other, which the nodes of the chain hand on to each other."""
        number = nonce = 0
        while not self._paying.wait(self.pay_every):
            try:
                nonce = (nonce or chain.ask(number, "account", name="alice")["nonce"]) + 1
                answer = chain.ask(number, "send", sender="alice", receiver="bob", amount=1, nonce=nonce)
            except (OSError, ValueError, http.client.HTTPException):  # it is just away
                number, answer = (number + 1) % len(chain.names), ""
            nonce = nonce if answer == "taken" else 0

    # Controllers

    def start_controller(self, name: str, lease: float = 2.0) -> None:
        """One more process that steers what is in the store."""
        words = ["rollout", "run", "--store", self.store, "--lease", str(lease), "--json"]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._controllers[name] = subprocess.Popen(
                [sys.executable, "-m", "livepatch", *words], stdout=log, stderr=log, env={**os.environ}
            )

    def kill_controller(self, name: str) -> None:
        """End it without a word."""
        process = self._controllers.pop(name)
        process.kill()
        process.wait()

    # Rollouts

    def start(self, plan: str, patch: Path, rollout: str, does: str = "can-halt = false") -> None:
        """Start a rollout of that patch: `plan` is its text, without what names the patch and says what it `does`."""
        told = json.loads(quietly("show", patch, "--json"))
        file = self.folder / f"{rollout}.toml"
        file.write_text(
            f'[patch]\nid = "{told["id"]}"\ndigest = "{told["digest"]}"\nflag = "{told["flag"]}"\n'
            f'package = "minichain"\nversions = "==1.0.0"\n{does}\n\n{plan.replace("ROLLOUT", rollout)}'
        )
        given = ["--inventory", self.inventory(), "--patch", patch, "--as", "alice", "--store", self.store]
        quietly("rollout", "start", file, *given)

    def status(self, rollout: str) -> dict[str, Any]:
        """How it stands."""
        told: dict[str, Any] = json.loads(quietly("rollout", "status", rollout, "--store", self.store, "--json"))
        return told

    def wait(
        self, rollout: str, is_so: Callable[[dict[str, Any]], object], patience: float = PATIENCE
    ) -> dict[str, Any]:
        """Wait until that holds of how it stands."""
        end = time.monotonic() + patience
        asked = time.monotonic()
        while not is_so(told := self.status(rollout)):
            now = time.monotonic()
            if now > end:
                raise TimeoutError(f"{rollout}: {json.dumps(told, indent=1)[:6000]}")
            time.sleep(max(0.1, 4 * (now - asked)))  # who asks leaves the processor to those who are to answer
            asked = time.monotonic()
        return told

    def ended(self, rollout: str, patience: float = PATIENCE) -> str:
        """Wait for its end: complete or reverted."""
        told = self.wait(rollout, lambda told: told["phase"] in ("complete", "reverted"), patience)
        return str(told["phase"])

    def patched(self) -> Iterator[tuple[str, list[str]]]:
        """Which patches each node has, as the nodes themselves say."""
        for name, (each, number) in self.places.items():
            answer = each.operate(number, "status")
            if "error" in answer:
                raise RuntimeError(f"{name}: {answer['error']}")
            yield name, [patch["id"] for patch in answer["result"]["patches"]]
