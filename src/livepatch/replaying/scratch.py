"""A scratch process as the one that started it sees it: it begins, tells one answer after the other, and ends."""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from livepatch.compat.report import Caller, Finding, Report
from livepatch.errors import IncompatibleError, PatchError, ProtectedError, TransitionError, shortened
from livepatch.replaying.plain import pack, unpacker
from livepatch.replaying.within import IN_SCRATCH

__all__ = ["Scratch"]

_AHEAD = 256  # answers that a side may be ahead of the other
_LOOK = 0.1  # seconds between two looks whether anybody still wants them
_LAST = 2.0  # seconds that the pipes of an ended process are read for
_TAIL = 2000  # bytes of what it wrote to standard error
_BEGIN = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); del sys.argv[1:]; from {program} import main; main()"
SIDE = "livepatch.replaying.side"


class Scratch:
    """A scratch process, and what it tells, in order.  It ends with the block."""

    def __init__(self, name: str, order: Any, home: Path, timeout: float, program: str = SIDE) -> None:
        """Have a `program`, the module of livepatch that holds it, do what is in the `order`, a dataclass.

        `name` is what errors call it, `home` the folder, which is made, in which it runs.
        """
        self.name = name
        self._order = order
        self._home = home
        self._timeout = timeout
        self._program = program
        self._told: queue.Queue[dict[str, Any] | None] = queue.Queue(_AHEAD)
        self._errors = b""
        self._over = threading.Event()
        self._readers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._home.mkdir()
        path = [str(Path(entry).absolute()) for entry in sys.path]
        flags = ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []
        environment = {**os.environ, "PYTHONHASHSEED": "0", IN_SCRATCH: self.name}
        if policy := environment.get("LIVEPATCH_POLICY"):
            environment["LIVEPATCH_POLICY"] = str(Path(policy).absolute())
        self._process = subprocess.Popen(  # noqa: S603  # this interpreter
            [sys.executable, *flags, "-c", _BEGIN.format(program=self._program), json.dumps(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._home,
            env=environment,
            start_new_session=True,
        )
        for target in (self._read, self._read_errors):
            self._readers.append(threading.Thread(target=target, name="livepatch-replay", daemon=True))
            self._readers[-1].start()
        data = pack(dataclasses.asdict(self._order))
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended; what it tells says why
            self._process.stdin.write(len(data).to_bytes(8, "big") + data)
            self._process.stdin.flush()
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
        self._over.set()
        for reader, pipe in zip(self._readers, (process.stdout, process.stderr), strict=True):
            reader.join(_LAST)
            # What has left the process group may hold the other end, and the reader waits; the pipe is its own then.
            if pipe is not None and not reader.is_alive():
                pipe.close()
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        unpacking = unpacker()
        descriptor = self._process.stdout.fileno()
        with suppress(OSError, ValueError):
            while part := os.read(descriptor, 65_536):
                unpacking.feed(part)
                for message in unpacking:
                    self._tell(message)
        self._tell(None)

    def _tell(self, message: dict[str, Any] | None) -> None:
        while not self._over.is_set():
            with suppress(queue.Full):
                self._told.put(message, timeout=_LOOK)
                return

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        descriptor = self._process.stderr.fileno()
        with suppress(OSError):
            while part := os.read(descriptor, 65_536):
                self._errors = (self._errors + part)[-_TAIL:]

    def wait_begun(self) -> str:
        """Wait until it is ready, and give the id of the patch that is in it, if one is.

        Raises what keeps it from that, as :func:`livepatch.replay` says.
        """
        try:
            message = self._told.get(timeout=self._timeout)
        except queue.Empty:
            raise TransitionError(
                f"the {self.name} did not begin within {self._timeout:g} s",
                timeout=self._timeout,
                found="modules that are still being imported, or a patch that still goes in",
                expected="a package that can be imported anew",
                action="give it more time with timeout=, or see whether importing it waits for something",
            ) from None
        if message is None:
            raise PatchError(
                f"the {self.name} ended before it had begun",
                found=self.how_it_ended(),
                expected="a package that can be imported anew",
                action="see to what it tells",
            )
        if "failed" in message:
            raise _raised(self.name, message["failed"])
        patch_id: str = message["begun"]
        return patch_id

    def next(self) -> dict[str, Any] | str:
        """What it tells next, or why it tells nothing more."""
        try:
            message = self._told.get(timeout=self._timeout)
        except queue.Empty:
            return f"no answer within {self._timeout:g} s"
        return self.how_it_ended() if message is None else message

    def how_it_ended(self) -> str:
        """The status or signal with which it ended, and the last line that it wrote to standard error."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        code = self._process.returncode
        told = self._errors.decode(errors="replace").strip().rpartition("\n")[2]
        how = f"ended by signal {-code}" if code is not None and code < 0 else f"ended with status {code}"
        return shortened(f"{how}: {told}" if told else how, 200)


def _raised(side: str, told: dict[str, Any]) -> Exception:
    if "report" in told:
        fields = told["report"]
        report = Report(
            **{
                **fields,
                "targets": tuple(fields["targets"]),
                "waived": tuple(fields["waived"]),
                "findings": tuple(Finding(**each) for each in fields["findings"]),
                "callers": tuple(Caller(**each) for each in fields["callers"]),
            }
        )
        return ProtectedError(report) if told["policy"] == ProtectedError.__name__ else IncompatibleError(report)
    if told["message"]:
        parts = {name: told[name] for name in ("found", "expected", "action")}
        return PatchError(f"the {side} cannot begin: {told['message']}", **parts)
    return PatchError(
        f"the {side} cannot begin",
        found=told["found"],
        expected="a package that can be imported anew, and a setup= that works",
        action="see to that in a fresh interpreter",
    )
