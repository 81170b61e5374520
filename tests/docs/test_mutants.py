"""What becomes of mutants is told: those that no test notices are explained, or the run fails."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
SOURCE = TOOLS.parent / "src" / "livepatch"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants_of_livepatch", TOOLS / "mutants.py")
    assert spec is not None
    assert spec.loader is not None
    made = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(TOOLS))
    try:
        spec.loader.exec_module(made)
    finally:
        sys.path.remove(str(TOOLS))
        del sys.modules[spec.name]
    return made


DIFF = """\
--- engine/stack.py
+++ engine/stack.py
@@ -1,4 +1,4 @@
 def settled(value, slot):
-    return value[SIDE.index(slot.name)]
+    return value[SIDE.rindex(slot.name)]
"""
EXPLAINED = """
[[explained]]
file = "engine/stack.py"
function = "settled"
line = "return value[SIDE.index(slot.name)]"
mutants = ["return value[SIDE.rindex(slot.name)]", "return None"]
why = "Each name is there once."
"""


def test_a_survivor_is_explained_by_what_it_changes_and_where(tool: ModuleType):
    change = tool.change_of("engine/stack.py", "settled", DIFF)
    assert change.before == "return value[SIDE.index(slot.name)]"
    assert change.after == "return value[SIDE.rindex(slot.name)]"
    explained = tool.read_explained(EXPLAINED)
    assert explained[change] == "Each name is there once."
    assert tool.change_of("engine/stack.py", "another", DIFF) not in explained
    assert tool.change_of("engine/commit.py", "settled", DIFF) not in explained


def test_the_run_passes_if_every_mutant_was_killed_or_is_explained(tool: ModuleType):
    explained = tool.read_explained(EXPLAINED)
    known, other = explained
    new = tool.change_of("engine/stack.py", "another", DIFF)
    killed = [tool.Mutant("engine/stack.py", f"m{n}", status) for n, status in enumerate(tool.KILLED)]
    survived = [tool.Mutant("engine/stack.py", "m7", "survived", known)]
    survived += [tool.Mutant("engine/stack.py", "m8", "no tests", other)]
    assert tool.complaints([*killed, *survived], explained, whole=True) == []
    assert tool.complaints([*killed, survived[0]], explained, whole=False) == []
    assert tool.count([*killed, *survived], explained) == [tool.Count("engine/stack.py", 5, 3, 2, 2)]
    (left,) = tool.complaints([*killed, survived[0]], explained, whole=True)
    assert "fits no mutant that survived" in left
    for status, told in (("survived", "m9 survived and is not explained"), ("not checked", "m9: not checked")):
        more = [*killed, *survived, tool.Mutant("engine/stack.py", "m9", status, new)]
        (left,) = tool.complaints(more, explained, whole=True)
        assert told in left
    assert tool.count(more, explained) == [tool.Count("engine/stack.py", 6, 3, 2, 2)]


@pytest.mark.parametrize("why", ['why = " "', "", 'why = "so"\nmore = 1'])
def test_an_explanation_that_is_none_is_told(tool: ModuleType, why: str):
    with pytest.raises(tool.ExplanationError, match="expected file, function, line, mutants and why"):
        tool.read_explained(EXPLAINED.replace('why = "Each name is there once."', why))
    with pytest.raises(tool.ExplanationError, match="found twice"):
        tool.read_explained(EXPLAINED * 2)


def test_every_line_that_is_explained_is_there(tool: ModuleType):
    for change in tool.read_explained(tool.EXPLAINED.read_text(encoding="utf-8")):
        source = " ".join(line.strip() for line in (SOURCE / change.file).read_text(encoding="utf-8").splitlines())
        assert change.before in source, change
        assert f"def {change.function.rpartition('.')[2]}(" in source, change
