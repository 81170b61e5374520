"""Makes the applications that the benchmarks patch: modules in files, installed as a distribution of their own."""

from __future__ import annotations

import importlib
import itertools
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["installed", "write_functions"]

_number = itertools.count()


@contextmanager
def installed(**sources: str) -> Iterator[tuple[ModuleType, ...]]:
    """Import modules with these sources, in that order, as version 1.0 of a distribution.

    Each module's real name has a number after it, and so has the distribution's; ``{name}`` in a source stands for the
    real name of the module `name`, and ``{distribution}`` for the distribution's.
    """
    number = next(_number)
    names = {name: f"{name}_{number}" for name in sources} | {"distribution": f"bench-application-{number}"}
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        for name, source in sources.items():
            (place / f"{names[name]}.py").write_text(_filled(source, names))
        metadata = place / f"bench_application_{number}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {names['distribution']}\nVersion: 1.0\n")
        (metadata / "top_level.txt").write_text("\n".join(names[name] for name in sources))
        sys.path.insert(0, directory)
        importlib.invalidate_caches()
        try:
            yield tuple(importlib.import_module(names[name]) for name in sources)
        finally:
            sys.path.remove(directory)
            for name in sources:
                sys.modules.pop(names[name], None)


def _filled(source: str, names: Mapping[str, Any]) -> str:
    for name, real in names.items():
        source = source.replace("{" + name + "}", real)
    return source


def write_functions(count: int) -> dict[str, str]:
    """An application of `count` functions, and a patch ``fix`` that replaces them all."""
    before = "def f{i}(x):\n    return x + {i}\n"
    after = "@fix.replace('{application}:f{i}')\ndef f{i}(x):\n    return x - {i}\n"
    head = "import livepatch\nfix = livepatch.Patch('{distribution}', package='{distribution}', versions='==1.0')\n"
    return {
        "application": "\n".join(before.replace("{i}", str(i)) for i in range(count)),
        "patch": head + "\n".join(after.replace("{i}", str(i)) for i in range(count)),
    }
