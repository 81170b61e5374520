"""`livepatch` for shells, without what most of a command takes: a process that has imported it forks one for each.

`Commands(folder)` puts it, and the `python` of the tests, into a folder for ``PATH``.  A program in the background, and
what starts one, is a process of its own as ever, so that ``$!`` is its number.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Self

ENDLESS = ("run", "watch")
SHIM = f"""\
import array, json, os, socket, sys
arguments = sys.argv[1:]
if arguments[:1] and arguments[0] in {ENDLESS!r}:
    os.execv(sys.executable, [sys.executable, "-m", "livepatch", *arguments])
server = socket.socket(socket.AF_UNIX)
server.connect(os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "server"))
told = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()
server.sendmsg([len(told).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
server.sendall(told)
sys.exit(int(server.recv(4) or b"70"))
"""


class Commands:
    """The commands, while the block lasts; their folder is `path`."""

    def __init__(self, path: Path, environment: dict[str, str]) -> None:
        self.path = path
        self._environment = environment
        self._server: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.path.mkdir()
        self._write("python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (self.path / "shim.py").write_text(SHIM)
        self._write("livepatch", f'#!/bin/sh\nexec "{sys.executable}" -I -S "{self.path / "shim.py"}" "$@"\n')
        self._server = subprocess.Popen(
            [sys.executable, __file__, self.path / "server"],
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        os.killpg(self._server.pid, signal.SIGKILL)
        self._server.communicate()

    def _write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)
        (self.path / name).chmod(0o700)


def serve(path: str) -> None:
    """Fork for each command that is asked for at this socket."""
    import livepatch
    from livepatch.cli.main import main
    from livepatch.node import client, protocol

    for name in ("apply", "build", "check", "load", "TrustRoot"):
        getattr(livepatch, name)
    del client, protocol
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them here
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        asked, _ = listening.accept()
        if os.fork():
            asked.close()
            continue
        listening.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os._exit(answer(asked, main))


def answer(asked: socket.socket, main) -> int:
    length, control, _, _ = asked.recvmsg(4, socket.CMSG_SPACE(12))
    streams = array.array("i", control[0][2])
    told = b""
    while len(told) < int.from_bytes(length, "big"):
        told += asked.recv(65536)
    arguments, folder, environment = json.loads(told)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = ["livepatch", *arguments]
    try:
        status = main(arguments)
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    asked.sendall(str(status).encode())
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
