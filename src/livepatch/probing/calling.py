"""One probe run in this process, whichever that is: its source becomes a module of its own, and is asked."""

from __future__ import annotations

import builtins
import threading
from typing import Any

from livepatch.contents.parsing import compiled
from livepatch.contents.probes import ENTRY
from livepatch.probing.probed import Verdict

__all__ = ["ask", "asked", "asked_apart", "is_probe"]

_NAME = "livepatch_probe"
_asking = threading.local()


def ask(name: str, source: str) -> object:
    """Whatever the probe gives, or raises: its message may hold how the hole is used."""
    namespace: dict[str, Any] = {"__name__": _NAME, "print": _dropped}
    exec(compiled(source, f"<probe {name}>"), namespace)  # noqa: S102  # it was verified
    return namespace[ENTRY]()


def asked(name: str, source: str) -> tuple[Verdict, str]:
    """What the probe says; if that is nothing, why, without a word of its own."""
    try:
        said = ask(name, source)
    except BaseException as error:  # noqa: BLE001  # it may fail in any way
        return "unknown", f"it raised {_kind(error)}"
    if said is True or said is False:
        return ("vulnerable" if said else "fixed"), ""
    return "unknown", f"it gave {_kind(said)}, not True or False"


def _dropped(*values: object, file: Any = None, **how: Any) -> None:
    """The probe's own `print`: what it says of the hole is for nobody, unless it names a file.

    Another ``sys.stdout`` for so long would be another one for each thread of the process.
    """
    if file is not None:
        builtins.print(*values, file=file, **how)


def _kind(value: object) -> str:
    """The type of something, unless the probe has named it itself."""
    kind = type(value)
    return "something of its own" if kind.__module__ == _NAME else f"{kind.__module__}.{kind.__qualname__}"


def is_probe() -> bool:
    """Whether this thread was started to ask a probe."""
    return getattr(_asking, "here", False)


def asked_apart(name: str, source: str, timeout: float) -> tuple[Verdict, str]:
    """The same in a thread of its own, with a context of its own, waited for so many seconds."""
    found: list[tuple[Verdict, str]] = []

    def ask() -> None:
        _asking.here = True
        found.append(asked(name, source))

    thread = threading.Thread(target=ask, name="livepatch-probe", daemon=True)
    thread.start()
    thread.join(timeout)
    return found[0] if found else ("unknown", f"no answer within {timeout:g} s")
