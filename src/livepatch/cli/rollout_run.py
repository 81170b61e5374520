"""``livepatch rollout run``: one of any number of processes that steer the rollouts in the fleet's store."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from livepatch.cli.nodes import seconds
from livepatch.cli.output import add_json, print_lines, visible
from livepatch.cli.stores import add_store, opened, where_of
from livepatch.errors import StateError

if TYPE_CHECKING:
    from livepatch.fleet.standing import Directive, Tell
    from livepatch.fleet.steering import Steering

__all__ = ["add_actions"]

_DESCRIPTION = """\
Steers the rollouts in the fleet's store: opens stages, asks the gates, and takes the patch
back everywhere if one fails.  Run it on as many machines as you like: of each rollout, one
acts, and when it is gone another goes on from what is published.  With ROLLOUT it ends when
these have ended, with status 0 if all nodes have the patch; without, at Ctrl-C."""
_WAIT = 1.0  # seconds until the clock is looked at again


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``run``."""
    run = actions.add_parser("run", help="steer what is in the store", description=_DESCRIPTION, allow_abbrev=False)
    run.add_argument("rollouts", metavar="ROLLOUT", nargs="*", help="the ids of rollouts; all, if none is given")
    run.add_argument(
        "--lease",
        type=seconds,
        default=15.0,
        metavar="SECONDS",
        help="for how long a process that is gone keeps others from acting (default: 15)",
    )
    add_store(run)
    add_json(run)
    run.set_defaults(act=_run)


def _run(given: argparse.Namespace) -> bool:
    from livepatch.fleet.beginning import terms_at

    where_of(given)
    telling = _Telling(as_json=given.json)
    with _ending() as ended, opened(given) as store:
        from livepatch.fleet.steering import Steering

        for rollout in given.rollouts:
            terms_at(store, rollout)  # a name that is misspelt is told at once
        steering = Steering(store, given.rollouts, told=telling.tell, lease=max(given.lease, 0.5))
        try:
            return _steer(steering, given.rollouts, ended, telling)
        finally:
            try:
                steering.release()
            except StateError as error:
                telling.fault(error)


def _steer(steering: Steering, named: list[str], ended: threading.Event, telling: _Telling) -> bool:
    from livepatch.fleet.steering import ENDED

    while not ended.is_set():
        try:
            found = steering.turn(time.time())
            telling.standings(found)
            phases = [directive.phase if directive else "" for directive in found.values()]
            if named and all(phase in ENDED for phase in phases):
                return set(phases) == {"complete"}
            steering.wait(_WAIT)
        except StateError as error:  # a server that is down comes back
            telling.fault(error)
            ended.wait(_WAIT)
    return not named


@contextmanager
def _ending() -> Iterator[threading.Event]:
    """Set by Ctrl-C and SIGTERM, so that the lease is let go of."""
    ended = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():
        yield ended
        return
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in numbers}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Telling:
    """Prints what is news: a line each."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._shown: dict[str, tuple[object, ...]] = {}
        self._fault = ""

    def tell(self, rollout: str, told: Tell) -> None:
        """What people should know."""
        about = {name: str(value) for name, value in told.about.items()}
        words = ", ".join(f"{name} {value}" for name, value in about.items())
        self._line({"rollout": rollout, "what": told.what, "about": about}, f"{rollout}: {told.what}: {words}")

    def standings(self, found: Mapping[str, Directive | None]) -> None:
        """How they stand, if that has changed."""
        self._fault = ""
        for rollout, its in found.items():
            shown = () if its is None else (its.phase, its.opened, its.paused, its.why, its.since is not None)
            if its is None or self._shown.get(rollout) == shown:
                continue
            self._shown[rollout] = shown
            plain = {
                "phase": its.phase,
                "opened": its.opened,
                "paused": its.paused,
                "why": its.why,
                "soaks": its.since is not None,
                "revision": its.revision,
            }
            words = f"{its.phase}{', paused' if its.paused else ''}"
            if its.phase == "running":
                words += f", stage {its.opened} {'soaks' if its.since is not None else 'opens'}"
            self._line({"rollout": rollout, **plain}, f"{rollout}: {words}{f': {its.why}' if its.why else ''}")

    def fault(self, error: StateError) -> None:
        """The store cannot be used: told once, on standard error."""
        if str(error) != self._fault:
            self._fault = str(error)
            sys.stderr.write(f"livepatch rollout: {visible(self._fault)}\n")

    def _line(self, plain: Mapping[str, Any], words: str) -> None:
        at = time.time()
        stamp = time.strftime("%H:%M:%SZ", time.gmtime(at))
        print_lines([json.dumps({"at": at, **plain}, sort_keys=True) if self._json else visible(f"{stamp} {words}")])
