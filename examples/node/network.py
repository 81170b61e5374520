"""Several nodes on this machine: ``python network.py --nodes 4 --release 1.0.0 --folder /tmp/network``.

Each node is a process of its own, with the release from the folder beside this file.  Stop them with Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from livepatch.cli.main import main as livepatch

HERE = Path(__file__).resolve().parent
PATIENCE = 60.0
"""Seconds until a network that does nothing is given up."""

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy leads to this machine


def listening() -> socket.socket:
    """A socket that listens on a port which nobody else can take meanwhile."""
    opened = socket.socket()
    opened.bind(("127.0.0.1", 0))
    opened.listen()
    return opened


class Network:
    """The nodes, by number.  Their folders are below `folder`, and so are their logs."""

    def __init__(
        self,
        folder: Path,
        nodes: int = 4,
        release: str = "1.0.0",
        *,
        prefix: str = "node",
        patience: float = PATIENCE,
        **settings: object,
    ) -> None:
        self.folder = folder
        self.patience = patience
        self.names = [f"{prefix}-{number}" for number in range(nodes)]
        self.release = release
        self._p2p = [listening() for _ in self.names]
        self._rpc = [listening() for _ in self.names]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        network = {
            "validators": self.names,
            "network_key": secrets.token_hex(32),
            "genesis": {"alice": 1000, "bob": 1000, "mallory": 10},
            "secret": secrets.token_hex(32),
            **settings,
        }
        for number, name in enumerate(self.names):
            home = folder / name
            home.mkdir(parents=True)
            peers = [self.p2p_port(other) for other in range(number + 1, nodes)]
            ports = {"p2p": self.p2p_port(number), "rpc": self.rpc_port(number), "peers": peers}
            told = {"name": name, "data": "data", **ports, **network}
            (home / "node.toml").touch(mode=0o600)
            (home / "node.toml").write_text("".join(f"{key} = {_toml(value)}\n" for key, value in told.items()))

    def p2p_port(self, number: int) -> int:
        """Where a node's peers call."""
        return int(self._p2p[number].getsockname()[1])

    def rpc_port(self, number: int) -> int:
        """Where a node's users call."""
        return int(self._rpc[number].getsockname()[1])

    def __enter__(self) -> Self:
        for number in range(len(self.names)):
            self.start(number)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for opened in (*self._p2p, *self._rpc):
            opened.close()

    def start(self, number: int, release: str = "") -> None:
        """Start one node."""
        home = self.folder / self.names[number]
        release_dir = str(HERE / (release or self.release))
        path = os.pathsep.join([release_dir, *filter(None, [os.environ.get("PYTHONPATH")])])
        handed = [self._p2p[number].fileno(), self._rpc[number].fileno()]
        command = [sys.executable, "-m", "minichain", "--config", home / "node.toml"]
        with (home / "log").open("ab") as log:
            self._processes[number] = subprocess.Popen(
                [*command, "--p2p-fd", str(handed[0]), "--rpc-fd", str(handed[1])],
                env={**os.environ, "PYTHONPATH": path},
                pass_fds=handed,
                stdout=log,
                stderr=log,
                cwd=home,
            )

    def stop(self) -> dict[int, int]:
        """Ask all nodes to stop, and wait: their exit codes."""
        for process in self._processes.values():
            process.terminate()
        codes = {}
        for number, process in self._processes.items():
            try:
                codes[number] = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                codes[number] = process.wait()
        self._processes.clear()
        return codes

    def kill(self, number: int) -> None:
        """End a node without a word."""
        process = self._processes.pop(number)
        process.kill()
        process.wait()

    def ask(self, number: int, method: str, **parameters: object) -> Any:
        """The result of a call.  Raises ValueError for an error."""
        (answer,) = self.ask_all(number, [(method, parameters)])
        return answer

    def ask_all(self, number: int, calls: list[tuple[str, dict[str, Any]]]) -> list[Any]:
        """The results of several calls in one request.  Raises ValueError for an error."""
        batch = [{"jsonrpc": "2.0", "id": i, "method": name, "params": given} for i, (name, given) in enumerate(calls)]
        url = f"http://127.0.0.1:{self.rpc_port(number)}/"
        with _DIRECT.open(url, json.dumps(batch).encode(), PATIENCE) as response:  # our own node
            answers = json.load(response)
        for answer in answers:
            if "error" in answer:
                raise ValueError(answer["error"]["message"])
        return [answer["result"] for answer in answers]

    def metrics(self, number: int) -> dict[str, float]:
        """The numbers of a node."""
        url = f"http://127.0.0.1:{self.rpc_port(number)}/metrics"
        with _DIRECT.open(url, timeout=PATIENCE) as response:  # our own node
            lines = response.read().decode().splitlines()
        rows = (line.split() for line in lines if not line.startswith("#"))
        return {name.removeprefix("minichain_"): float(value) for name, value in rows}

    def store(self, number: int) -> Path:
        """The store of a node's patches, by which ``livepatch … --node`` reaches it."""
        return self.folder / self.names[number] / "data" / "patches"

    def operate(self, number: int, *words: str) -> dict[str, Any]:
        """What ``livepatch WORDS --node …`` tells of a node: its ``result``, or an ``error``."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            livepatch([*words, "--node", str(self.store(number)), "--json"])
        (told,) = json.loads(printed.getvalue())["nodes"]
        answer: dict[str, Any] = told
        return answer

    def heights(self) -> list[int]:
        """How far each node is."""
        return [self.ask(number, "status")["height"] for number in self._processes]

    def wait_for_height(self, height: int) -> None:
        """Wait until all nodes are there."""
        self.wait(lambda: min(self.heights()) >= height, f"height {height}")

    def wait(self, is_so: Callable[[], object], what: str) -> None:
        """Wait until something is so.  Raises TimeoutError if it never is, or a node has ended."""
        end = time.monotonic() + self.patience
        while not self._is_so(is_so):
            ended = [self.names[number] for number, each in self._processes.items() if each.poll() is not None]
            if ended or time.monotonic() > end:
                logs = "".join((self.folder / name / "log").read_text()[-2000:] for name in self.names)
                raise TimeoutError(f"no {what}; ended: {ended or 'none'}\n{logs}")
            time.sleep(0.1)

    def _is_so(self, is_so: Callable[[], object]) -> bool:
        try:
            return bool(is_so())
        except OSError:
            return False  # not there yet


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)


def main() -> None:
    """Run a network until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--release", default="1.0.0", choices=sorted(path.name for path in HERE.glob("[0-9]*")))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--block-time", type=float, default=1.0)
    parser.add_argument("--trust", default="UNSIGNED", help="the trust root for patches; without one any file is taken")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    trust = arguments.trust if arguments.trust == "UNSIGNED" else str(Path(arguments.trust).resolve())
    settings: dict[str, object] = {"block_time": arguments.block_time, "trust": trust}
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    with Network(folder, arguments.nodes, arguments.release, **settings) as network:
        network.wait_for_height(1)
        for number, name in enumerate(network.names):
            print(f"{name}: rpc http://127.0.0.1:{network.rpc_port(number)}/  folder {folder / name}", flush=True)
        told.wait()


if __name__ == "__main__":
    main()
