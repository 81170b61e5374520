"""Other definitions of a method's name, found without asking anybody's metaclass."""

from __future__ import annotations

import abc
import typing
from typing import Any, Protocol

import pytest

from livepatch.engine.relatives import Relatives

ARMED: list[bool] = []


class Never(type):
    """A metaclass of which nothing may be asked once it is armed."""

    def __eq__(cls, other: object) -> bool:
        assert not ARMED
        return cls is other

    __hash__ = type.__hash__

    def __subclasscheck__(cls, other: type) -> bool:
        assert not ARMED
        return super().__subclasscheck__(other)

    def __getattribute__(cls, name: str) -> Any:
        assert not ARMED or name not in ("f", "__subclasshook__")
        return super().__getattribute__(name)


class Base(metaclass=Never):
    def f(self, a: int) -> None: ...
    @staticmethod
    def s(a: int) -> None: ...
    @property
    def p(self) -> int: ...  # type: ignore[empty-body]
    def __len__(self) -> int: ...  # type: ignore[empty-body]


class Middle(Base): ...


class Target(Middle):
    def f(self, a: int) -> None: ...
    @staticmethod
    def s(a: int) -> None: ...
    @classmethod
    def c(cls) -> None: ...
    def __len__(self) -> int: ...  # type: ignore[empty-body]


class Below(Target):
    def f(self, *a: int) -> None: ...

    c = None  # type: ignore[assignment]


class Lowest(Below):
    def f(self) -> None: ...  # type: ignore[override]
    @classmethod
    def c(cls, more: int = 0) -> None: ...  # type: ignore[override]


class Has(Protocol):
    def f(self, a: int) -> None: ...


class HasMore(Has, Protocol):
    def absent(self) -> None: ...


class HasLength(Protocol):
    def __len__(self) -> int: ...


class Abstract(abc.ABC):
    @abc.abstractmethod
    def f(self, a: int) -> None: ...


class Derived(Abstract):
    def f(self, a: int) -> None: ...


Abstract.register(Middle)


@pytest.fixture(autouse=True)
def nothing_may_be_asked():
    ARMED.append(True)
    yield
    ARMED.clear()


def found(cls: type, name: str) -> list[tuple[str, str]]:
    return [(each.relation, each.name.rpartition(":")[2]) for each in Relatives().of(cls, name)]


@pytest.mark.parametrize(
    ("name", "relatives"),
    [
        (
            "f",
            [
                ("overrides", "Base.f"),
                ("is overridden by", "Below.f"),
                ("is overridden by", "Lowest.f"),
                ("satisfies", "Has.f"),
                ("is registered for", "Abstract.f"),
            ],
        ),
        ("s", [("overrides", "Base.s")]),
        ("c", [("is overridden by", "Lowest.c")]),
        ("__len__", [("overrides", "Base.__len__")]),
        ("p", []),
        ("none", []),
    ],
)
def test_the_relatives_of_a_method(name: str, relatives: list[tuple[str, str]]):
    assert found(Target, name) == relatives


def test_what_derives_from_an_abstract_class_is_not_registered_for_it():
    assert found(Derived, "f") == [("overrides", "Abstract.f"), ("satisfies", "Has.f")]


def test_it_says_where_a_relative_is_and_what_it_takes():
    (relative,) = Relatives().of(Target, "c")
    code = vars(Lowest)["c"].__func__.__code__
    assert (relative.file, relative.line) == (code.co_filename, code.co_firstlineno)
    assert [(p.name, p.required) for p in relative.parameters] == [("cls", True), ("more", False)]


def test_protocols_of_typing_itself_are_no_relatives():
    assert not [name for _, name in found(dict, "keys") if name in vars(typing)]
