"""A NATS server for the tests of its engine: Debian's nats-server, on a port of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time

import pytest


class Server:
    """A nats-server with JetStream; `more` are lines of its configuration."""

    def __init__(self, folder, more=""):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"nats://127.0.0.1:{self.port}"
        self.configuration = folder / "nats.conf"
        self.configuration.write_text(
            f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: "{folder / "data"}" }}\n{more}\n'
        )
        self.start()

    def start(self):
        command = ["nats-server", "-c", str(self.configuration)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.process.poll() is None, "nats-server has ended"
            time.sleep(0.05)
        raise AssertionError("nats-server does not listen")

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def nats_needed():
    pytest.importorskip("nats", reason="the extra nats is not installed")
    if not shutil.which("nats-server"):
        pytest.skip("no nats-server here: apt-get install nats-server")


@pytest.fixture(scope="session")
def nats_server(nats_needed, tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("nats"))
    yield server
    server.kill()
