"""An agent for a process that was started without one: CPython 3.14 and later run a script in it when they are asked.

The script is one that starts a thread and nothing else, for it is run by the main thread between two of its own
instructions.  The thread starts the agent, and leaves word in the store of what came of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from livepatch.errors import LivepatchError, NodeError, spelled
from livepatch.events import emit, keep_apart
from livepatch.node import failures
from livepatch.node.given import Given
from livepatch.state.files import put, remove

__all__ = ["attach", "begin"]

_LARGEST = 1 << 20  # bytes of the word that is left
_PAUSE = 0.02
_SCRIPT = """\
def _livepatch_attach():
    import sys, threading
    def work():
        try:
            from livepatch.node.attaching import begin
        except ImportError:
            sys.path += [path for path in {path!r} if path not in sys.path]
            from livepatch.node.attaching import begin
        begin({given!r}, {word!r})
    threading.Thread(target=work, name="livepatch-attach", daemon=True).start()
_livepatch_attach()
del _livepatch_attach
"""


def attach(pid: int, given: Given, *, wait: float = 30.0) -> dict[str, Any]:
    """Start an agent in the process `pid`, with what is `given`; who the node is then.

    The process has to run the same CPython, 3.14 or later, and to belong to this user, or this is root.  Where it
    cannot import livepatch, the folders from which this process has it are appended to its path.

    Raises :class:`NodeError` if that cannot be, or the process has not come to it within `wait` seconds; then it will
    not come to it later.  And what :meth:`Agent.start` raised there.
    """
    execute: Callable[[int, str], None] | None = getattr(sys, "remote_exec", None)
    if execute is None:
        raise NodeError(
            "an agent cannot be brought into a process that runs",
            found="CPython " + ".".join(map(str, sys.version_info[:3])),
            expected="CPython 3.14 or later, here and there",
            action="restart the process by `livepatch run`, or have the program make a livepatch.Agent",
        )
    store = _prepared(Path(given.store), pid)
    beside = store / f".livepatch-{os.urandom(8).hex()}.tmp"
    script, word = beside.with_suffix(".tmp.py"), beside.with_suffix(".tmp.json")
    text = _SCRIPT.format(path=_own_path(), given=given.to_text(), word=str(word))
    try:
        _hand_over(script, text.encode(), pid)
        try:
            execute(pid, str(script))
        except (OSError, RuntimeError, ValueError) as error:
            raise _unreachable(pid, f"{type(error).__name__}: {error}") from error
        return _told(word, pid, wait)
    finally:
        with contextlib.suppress(OSError):
            _hand_over(script, b"pass  # whoever was to run this has not come to it in time\n", pid)
            if word.exists():
                remove(script)
        remove(word)


def _told(word: Path, pid: int, wait: float) -> dict[str, Any]:
    """What came of it."""
    end = time.monotonic() + wait
    while not word.exists():
        if not Path(f"/proc/{pid}").exists():
            raise _unreachable(pid, "it has ended")
        if time.monotonic() > end:
            raise NodeError(
                "the process has not come to it",
                found=f"nothing from process {pid} for {wait:g} s",
                expected="a main thread that runs Python code now and then",
                action="try again when its main thread is not inside a long call of C code, or with a longer --wait",
            )
        time.sleep(_PAUSE)
    with word.open("rb") as file:
        told: object = json.loads(file.read(_LARGEST))
    if not isinstance(told, dict) or "kind" in told:
        raise failures.rebuilt(told if isinstance(told, dict) else {})
    return told


def begin(given: str, word: str) -> None:
    """In the other process, on a thread of its own: start the agent, and leave word of it."""
    keep_apart()
    try:
        told = Given.parse(given).agent().start().about()
    except BaseException as error:  # noqa: BLE001  # nobody else would learn of it
        emit("not_attached", level="error", error=type(error).__qualname__)
        told = failures.plain(error)
    put(Path(word), json.dumps(told).encode())


def _prepared(store: Path, pid: int) -> Path:
    """The folder of the store, which is to belong to the process's user."""
    uid = _uid_of(pid)
    try:
        if not store.exists():
            store.mkdir(mode=0o700, parents=True)
            _give(store, uid)
    except OSError as error:
        raise NodeError(
            "the store cannot be made",
            found=f"{spelled(str(store))}: {error}",
            expected="a folder that the process may write to",
            action="choose another --store",
        ) from error
    if store.stat().st_uid != uid:
        raise NodeError(
            "the store is not the process's own",
            found=f"{spelled(str(store))} of user {store.stat().st_uid}",
            expected=f"a folder of user {uid}, as which process {pid} runs",
            action="choose another --store, or chown it",
        )
    return store


def _uid_of(pid: int) -> int:
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError as error:
        raise _unreachable(pid, "no such process") from error


def _hand_over(path: Path, data: bytes, pid: int) -> None:
    put(path, data)
    _give(path, _uid_of(pid))


def _give(path: Path, uid: int) -> None:
    if uid != os.geteuid():
        os.chown(path, uid, -1)


def _own_path() -> list[str]:
    """Where this process has livepatch and what it needs from."""
    own = [str(Path(__file__).resolve().parents[2])]
    return [*own, *(path for path in sys.path if path.endswith(("site-packages", "dist-packages")) and path not in own)]


def _unreachable(pid: int, found: str) -> LivepatchError:
    return NodeError(
        "the process cannot be reached",
        found=f"process {pid}: {found}",
        expected=f"a process of this user that runs CPython {'.'.join(map(str, sys.version_info[:2]))} and lets itself "
        "be debugged",
        action="ask with the Python that it runs, as its user or as root; see kernel.yama.ptrace_scope, and that it "
        "was not started with PYTHON_DISABLE_REMOTE_DEBUG",
    )
