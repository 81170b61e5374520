"""What runs in the scratch process: the patches go in, in their order, and then one probe is asked."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, field
from typing import Any

from livepatch.probing.calling import asked
from livepatch.replaying.plain import pack
from livepatch.replaying.within import Brought, modules_of, patch_of, take_order, told_error

__all__ = ["Order", "main"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Which patches go in first, and which probe is asked then."""

    stack: tuple[Brought, ...]
    probe: str
    source: str = field(repr=False)


def main() -> None:
    """Be the scratch process."""
    told, fields = take_order()
    try:
        for each in fields["stack"]:
            _put_in(Brought(**each))
    except BaseException as error:  # noqa: BLE001  # whatever keeps it from beginning is what is told
        told.write(pack({"failed": told_error(error)}))
        os._exit(1)
    told.write(pack({"begun": ""}))
    verdict, why = asked(fields["probe"], fields["source"])
    told.write(pack({"verdict": verdict, "why": why}))
    os._exit(0)  # threads and exit functions of the program are of no interest any more


def _put_in(brought: Brought) -> None:
    from livepatch.bundle.trust import UNSIGNED
    from livepatch.govern.policies import rehearse
    from livepatch.process.public import apply

    rehearse(code=False)
    patch = patch_of(brought)
    for module in dict.fromkeys((*brought.modules, *(modules_of(patch) if patch is not None else ()))):
        importlib.import_module(module)
    # Whoever started this process answers for the file: nothing else has been handed in.
    given: Any = patch if patch is not None else brought.patch
    apply(given, trust=None if patch is not None else UNSIGNED)
