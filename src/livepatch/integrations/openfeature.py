"""OpenFeature (extra ``openfeature``), both ways: follow a flag service, and serve livepatch's own flags.

A flag service is never asked per call: its change events move the mode.  While it cannot be asked, what it said last
holds.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.event import EventDetails, ProviderEvent, ProviderEventDetails
from openfeature.exception import ErrorCode, FlagNotFoundError, TypeMismatchError
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.provider import AbstractProvider, Metadata

from livepatch.engine.modes import Mode, is_off, is_on, spelled_mode, split
from livepatch.errors import LivepatchError, UnknownPatchError, spelled
from livepatch.events import emit, listen
from livepatch.process.applied import flags

if TYPE_CHECKING:
    from openfeature.evaluation_context import EvaluationContext

__all__ = ["Follower", "LivepatchProvider", "mode_of"]

_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)%")
_UNSET: Final = "\N{REPLACEMENT CHARACTER}"  # no flag's value: shows that the service gave none
_MOVES = (ProviderEvent.PROVIDER_READY, ProviderEvent.PROVIDER_CONFIGURATION_CHANGED)
_LOST = (ProviderEvent.PROVIDER_ERROR, ProviderEvent.PROVIDER_STALE)


def mode_of(value: object) -> Mode | None:
    """The mode that a flag's value means: a bool, ``"on"``, ``"off"``, ``"shadow"`` or ``"5%"``; ``None`` if none."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value == "on":
        return "on"
    if value == "off":
        return "off"
    if value == "shadow":
        return "shadow"
    share = _SHARE.fullmatch(value) if isinstance(value, str) else None
    return split(float(share[1])) if share is not None and float(share[1]) <= 100 else None


class Follower:
    """Moves the modes of applied patches as a flag service says, until :meth:`close`.

    Each applied patch whose flag the service knows gets the mode of its value: when the service is ready, when its
    flags change, and when a patch is applied.  A flag that it does not know, a value that means no mode, a mode that is
    refused, and a service that is lost, leave the mode as it is; an event ``livepatch.flag_not_followed`` says so.

    `client` is that of the program's SDK, by default its default client; `context` is what flags are evaluated for.
    """

    def __init__(self, client: OpenFeatureClient | None = None, *, context: EvaluationContext | None = None) -> None:
        if client is not None and not isinstance(client, OpenFeatureClient):
            raise TypeError(f"client must be an openfeature.client.OpenFeatureClient, not {spelled(client)}")
        self._client = client if client is not None else api.get_client()
        self._context = context
        # What is to be done is done in a thread of its own: events come in the middle of a switch, or of the service's.
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="livepatch-openfeature", daemon=True)
        self._thread.start()
        for event in _MOVES:
            self._client.add_handler(event, self._changed)
        for event in _LOST:
            self._client.add_handler(event, self._lost)
        self._end = listen(self._heard)
        self._jobs.put(lambda: self._follow(None))

    def settled(self, timeout: float = 5.0) -> bool:
        """Wait up to `timeout` seconds until all that has been heard until now is done; say whether it is."""
        done = threading.Event()
        self._jobs.put(done.set)
        return done.wait(timeout)

    def close(self) -> None:
        """Follow no more; the modes stay.  Twice is harmless."""
        self._end()
        for event in _MOVES:
            self._remove(event, self._changed)
        for event in _LOST:
            self._remove(event, self._lost)
        self._jobs.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(5.0)

    def _remove(self, event: ProviderEvent, handler: Callable[[EventDetails], None]) -> None:
        try:
            self._client.remove_handler(event, handler)
        except ValueError:
            return  # it was removed before

    def _changed(self, details: EventDetails) -> None:
        names = list(details.flags_changed) if details.flags_changed else None
        self._jobs.put(lambda: self._follow(names))

    def _lost(self, details: EventDetails) -> None:
        emit("flag_not_followed", level="warning", flag="", why=f"the service of {details.provider_name} is lost")

    def _heard(self, event: str, fields: Mapping[str, object]) -> None:
        flag = fields.get("flag")
        if event == "applied" and isinstance(flag, str):
            self._jobs.put(lambda: self._follow([flag]))

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception as error:  # noqa: BLE001  # a provider is somebody's code, and the next event comes
                emit("flag_not_followed", level="error", flag="", why=type(error).__qualname__)

    def _follow(self, names: list[str] | None) -> None:
        for name in list(flags) if names is None else names:
            if name in flags:
                self._move(name)

    def _move(self, name: str) -> None:
        value = self._value(name)
        if value is None:
            return
        mode = mode_of(value)
        if mode is None:
            self._refused(name, f"its value {spelled(value)} is no mode")
            return
        try:
            if not _alike(flags[name], mode):
                flags[name] = mode
        except UnknownPatchError:
            return  # reverted meanwhile
        except LivepatchError as error:
            self._refused(name, type(error).__qualname__)

    def _value(self, name: str) -> object | None:
        """What the service says of a flag; ``None`` if it says nothing."""
        text = self._client.get_string_details(name, _UNSET, self._context)
        if text.error_code is None and text.value != _UNSET:
            return text.value
        if text.error_code in (None, ErrorCode.TYPE_MISMATCH):
            # What depends on the default is the default.
            found = [self._client.get_boolean_details(name, default, self._context) for default in (True, False)]
            if found[0].value is found[1].value and not any(each.error_code for each in found):
                return found[0].value
            return None
        if text.error_code is not ErrorCode.FLAG_NOT_FOUND:
            self._refused(name, f"the service answers {text.error_code}")
        return None

    @staticmethod
    def _refused(name: str, why: str) -> None:
        emit("flag_not_followed", level="warning", flag=name, why=why)


class LivepatchProvider(AbstractProvider):
    """A provider that serves the flags of applied patches to the program's OpenFeature SDK, for it to read.

    A boolean flag is true under ``"on"`` and false under ``"off"``; for a mode that decides call by call it is a type
    mismatch, so that the caller's default is given.  A string flag is the mode in words.  Changes are events.
    """

    def __init__(self) -> None:
        super().__init__()
        self._end: Callable[[], None] | None = None

    def initialize(self, evaluation_context: EvaluationContext) -> None:  # noqa: ARG002  # there is nothing to target
        """The SDK begins to use it."""
        if self._end is None:
            self._end = listen(self._heard)

    def shutdown(self) -> None:
        """The SDK uses it no more."""
        if self._end is not None:
            self._end()
            self._end = None

    def _heard(self, event: str, fields: Mapping[str, object]) -> None:
        if event in ("applied", "mode_changed", "reverted", "cancelled"):
            flag = fields.get("flag")
            changed = [flag] if isinstance(flag, str) else None
            self.emit_provider_configuration_changed(ProviderEventDetails(flags_changed=changed))

    def get_metadata(self) -> Metadata:
        """Its name."""
        return Metadata(name="livepatch")

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,  # noqa: ARG002  # the SDK's own signature
        evaluation_context: EvaluationContext | None = None,  # noqa: ARG002  # likewise
    ) -> FlagResolutionDetails[bool]:
        """Whether the patch is on."""
        mode = _mode(flag_key)
        if not is_on(mode) and not is_off(mode):
            raise TypeMismatchError(f"the mode is {spelled_mode(mode)}, which decides call by call")
        return FlagResolutionDetails(is_on(mode), variant=spelled_mode(mode), reason=Reason.STATIC)

    def resolve_string_details(
        self,
        flag_key: str,
        default_value: str,  # noqa: ARG002  # likewise
        evaluation_context: EvaluationContext | None = None,  # noqa: ARG002  # likewise
    ) -> FlagResolutionDetails[str]:
        """The mode in words."""
        told = spelled_mode(_mode(flag_key))
        return FlagResolutionDetails(told, variant=told, reason=Reason.STATIC)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """No flag of a patch is a number."""
        raise _mismatch(flag_key, default_value, evaluation_context)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """No flag of a patch is a number."""
        raise _mismatch(flag_key, default_value, evaluation_context)

    def resolve_object_details(
        self, flag_key: str, default_value: Any, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[Any]:
        """No flag of a patch is an object."""
        raise _mismatch(flag_key, default_value, evaluation_context)


def _alike(one: Mode, other: Mode) -> bool:
    """Whether they send calls to the same side, be these measured or not."""
    return one == other or (is_on(one) and is_on(other)) or (is_off(one) and is_off(other))


def _mode(flag: str) -> Mode:
    try:
        return flags[flag]
    except UnknownPatchError as error:
        raise FlagNotFoundError(str(error)) from error


def _mismatch(flag: str, _: object, __: object) -> Exception:
    return TypeMismatchError(f"{spelled_mode(_mode(flag))} is a mode: ask for a boolean or a string")
