"""Patch files for stores: small ones, of functions of a package that is nowhere installed."""

from __future__ import annotations

import dataclasses

from tests.bundle.patches import of_functions

from livepatch.bundle.codec import encode
from livepatch.node.store import Store
from livepatch.node.wanted import Wish


def patch_file(name: str) -> bytes:
    """The bytes of a patch file, unsigned."""
    return encode(dataclasses.replace(of_functions(1), id=name, flag=name))


def wish(store: Store, name: str, mode: str = "on", *replaces: str) -> Wish:
    """An installed patch as a wish."""
    return store.install(patch_file(name)).wish(mode, replaces)


def ids(wishes: tuple[Wish, ...]) -> list[str]:
    """The ids, with the mode of those that are not on."""
    return [each.id if each.mode == "on" else f"{each.id} {each.mode}" for each in wishes]


def die(store: Store) -> None:
    """The process that has the store is gone, and the next one is another."""
    store.close(well=False)
    (store.path / "lock").write_text("")
