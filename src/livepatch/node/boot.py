"""How a client that was never changed comes up with its node's patches in it: ``livepatch run``.

`environment` makes what the client's interpreter is started with, and `begin` is called in it, and in every interpreter
that it starts, before the program runs.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

# What brings patches in is imported where it is needed: many a process that comes here has no use for it.
from livepatch import events
from livepatch.errors import LivepatchError, StateError
from livepatch.node.given import VARIABLE, Given
from livepatch.node.sleeping import Awake, Sleeper
from livepatch.node.stored import StoreView

__all__ = ["VARIABLE", "Given", "begin", "environment", "is_held"]

_START = Path(__file__).parent / "start"
_PATIENCE = 2.0  # seconds in which another process that only looks whether somebody has the store lets go of it


def environment(given: Given, before: Mapping[str, str]) -> dict[str, str]:
    """The environment for the client: that from before, with what brings the patches in."""
    path = [str(_START), *(each for each in before.get("PYTHONPATH", "").split(os.pathsep) if each != str(_START))]
    return {**before, VARIABLE: given.to_text(), "PYTHONPATH": os.pathsep.join(each for each in path if each)}


def begin() -> None:
    """Bring the patches in.  The process that ``livepatch run`` has become ends if that cannot be done at all.

    Another one, which the client has started, says so on its standard error and goes on.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return
    events.keep_apart()
    is_first = False
    try:
        given = Given.parse(text)
        is_first = given.pid == os.getpid()
        _come_up(given, is_first=is_first)
    except Exception as error:  # noqa: BLE001  # an error here would leave a program that runs on without its patches
        told = str(error) if isinstance(error, LivepatchError) else f"{type(error).__qualname__}: {error}"
        sys.stderr.write(f"livepatch run: {told}\n")
        sys.stderr.flush()
        if is_first:
            os._exit(2)  # nothing of the program has run, and an interpreter that starts cannot end in another way


def _come_up(given: Given, *, is_first: bool) -> None:
    if not is_first and is_held(given.store):
        Sleeper(Path(given.store), lambda module: _look_in(given, module)).start()
        return
    _own(given)


def _look_in(given: Given, just_come: str) -> Awake:
    """Another process has the store: this one runs what that says."""
    from livepatch.node.restoring import Restoration

    view = StoreView(given.store)
    height = given.told_height()
    restoration = Restoration(view, trust=given.trusted(), policy=given.policy or None, height=height)
    _record(view)
    restoration.start(view.wanted.patches, just_come)
    restoration.follow_store()
    return restoration


def _own(given: Given) -> None:
    """Have the store: what that says goes in, an agent takes more, and it is seen how the process ends."""
    agent = given.agent()
    until = time.monotonic() + _PATIENCE
    was_free = False
    while True:
        try:
            agent.start()
            return
        except StateError:
            is_free = not is_held(given.store)  # if it was not, it may have been let go of just now: once more then
            if (is_free and was_free) or time.monotonic() > until:
                raise
            was_free = is_free
        time.sleep(0.01)


def is_held(store: str) -> bool:
    """Whether a process has the store.  Looking takes its lock for a moment."""
    try:
        lock = os.open(Path(store) / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _record(store: StoreView) -> None:
    from livepatch.govern import recording

    recording.record_to(store.record_folder, key=store.key_file)
