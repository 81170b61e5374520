"""What an agent is given by name: found, or told why not."""

from __future__ import annotations

import sys

import pytest

from livepatch.errors import PatchError
from livepatch.health.probes import HealthProbe
from livepatch.node.named import check_name, findable, function_named, probes_named

MODULE = """
from livepatch.health.probes import HealthProbe, process_probes

one = HealthProbe("one", lambda: 1)
two = [one, HealthProbe("two", lambda: 2)]

class Status:
    height = staticmethod(lambda: 7)

def made():
    return two

def broken():
    raise KeyError("nothing")

def wrong():
    return [one, 5]

number = 5
text = "abc"
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "namedops.py").write_text(MODULE)
    with findable(str(tmp_path)):
        yield "namedops"
    sys.modules.pop("namedops", None)


def names(module, *given):
    return [each.name for each in probes_named("--probes", [f"{module}:{name}" for name in given])]


def test_probes_are_found_alone_several_or_made(module):
    assert names(module, "one") == ["one"]
    assert names(module, "two") == ["one", "two"]
    assert names(module, "made", "one") == ["one", "two", "one"]
    assert len(names("livepatch.health.probes", "process_probes")) == 5
    assert all(isinstance(each, HealthProbe) for each in probes_named("--probes", [f"{module}:two"]))


def test_a_function_is_found_by_its_qualified_name(module):
    assert function_named("--height", f"{module}:Status.height")() == 7


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("nowhere:one", "import nowhere: ModuleNotFoundError"),
        ("namedops:three", "no three in"),
        ("namedops:Status.depth", "it has height"),
        ("namedops:number", "found: 5"),
        ("namedops:text", "abc"),
        ("namedops:broken", "KeyError"),
        ("namedops:wrong", "5 among them"),
    ],
)
def test_what_is_none_is_told(module, name, found):
    with pytest.raises(PatchError) as caught:
        probes_named("--probes", [name])
    assert found in str(caught.value)
    assert "--probes" in str(caught.value)


def test_what_cannot_be_called_tells_no_height(module):
    with pytest.raises(PatchError, match="found: 5; expected: a function"):
        function_named("--height", f"{module}:number")


@pytest.mark.parametrize("name", ["", "x", ":x", "x:", "x:y:z", "a/b:c", "a..b:c", "a:b.", "a b:c", "x:y()", "1:x"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(PatchError) as caught:
        check_name("--height", name)
    assert caught.value.expected == "module:name, such as client.status:height"


def test_a_folder_is_looked_in_for_the_time_being_and_behind_all_others(tmp_path):
    before = list(sys.path)
    with findable(str(tmp_path)):
        assert sys.path == [*before, str(tmp_path)]
        with findable(str(tmp_path)), findable(""):
            assert sys.path == [*before, str(tmp_path)]
        assert sys.path == [*before, str(tmp_path)]
    assert sys.path == before
