"""Replays: both sides in scratch processes of their own, on recorded calls, and where they differ."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from tests.built import Running

import livepatch

if TYPE_CHECKING:
    from tests.conftest import WriteModule

_numbers = itertools.count(1)


@pytest.fixture
def chain(write_module: WriteModule) -> ModuleType:
    """A ledger, whose rule a patch changes, and ways to fail."""
    return write_module(
        """
        import os, sys, time
        class Ledger:
            def __init__(self): self.balances = {}
            def credit(self, name, amount):
                self.balances[name] = self.balances.get(name, 0) + amount
                return self.balances[name]
        LEDGER = Ledger()
        def fee(amount): return amount // 100
        def pay(name, amount): return LEDGER.credit(name, amount - fee(amount))
        async def later(name, amount): return pay(name, amount)
        def each(amounts):
            for amount in amounts: yield fee(amount)
        def supply(): return sum(LEDGER.balances.values())
        def found(): LEDGER.credit("founder", 1000)
        def files():
            with open("written", "a") as file: file.write("x")
            return os.path.getsize("written")
        def wait(seconds): time.sleep(seconds * fee(100))
        def start(path):
            import subprocess
            child = subprocess.Popen(["sleep", "300"])
            with open(path, "w") as file: file.write(str(child.pid))
            sys.stderr.write("x" * 1_000_000)
            print("y" * 1_000_000)
            return None
        def die(): os._exit(fee(300))
        def where(): return "fees", sys.flags.optimize
        """,
        name=f"replayed_{next(_numbers)}",
    )


FEE = "def fee(amount): return max(1, amount // 100)"


def call(chain: ModuleType, name: str, *args: object, **fields: object) -> dict[str, object]:
    return {"target": f"{chain.__name__}:{name}", "args": list(args), **fields}


def told(replayed: livepatch.Replayed) -> list[tuple[str, str, str, str, bool]]:
    return [(each.where, each.what, each.old, each.new, each.declared) for each in replayed.differences]


def test_sides_that_agree(chain, write_fix):
    fix = write_fix(f"{chain.__name__}:fee", "def fee(amount): return amount // 100")
    before = vars(chain.LEDGER)
    inputs = [call(chain, "pay", "a", 500), call(chain, "later", "b", 7), call(chain, "each", [1, 200])]
    inputs += [call(chain, "pay", "a"), call(chain, "pay", kwargs={"name": "a", "amount": 1})]
    replayed = livepatch.replay(fix, inputs, observe=[f"{chain.__name__}:LEDGER", f"{chain.__name__}:supply"])
    assert replayed.ok
    assert (replayed.inputs, replayed.count, replayed.opaque, replayed.unfinished) == (5, 0, (), "")
    assert replayed.patch_id == fix.id
    assert str(replayed).splitlines()[0] == f"replay of {fix.id}: 5 inputs, both sides alike"
    assert vars(chain.LEDGER) == before == {"balances": {}}  # nothing was run here
    assert livepatch.status() == ()


def test_what_differs_is_told_until_the_state_that_grows_from_it(chain, write_fix):
    fix = write_fix(f"{chain.__name__}:fee", FEE)
    name = chain.__name__
    inputs = [
        call(chain, "pay", "a", 500),
        call(chain, "pay", "a", 50),  # a fee of 1 in place of 0
        call(chain, "where"),  # the ledgers are different by now, and that was told
        call(chain, "LEDGER.credit", "b", 1),
        call(chain, "fee", 5),
    ]
    replayed = livepatch.replay(fix, inputs, observe=[f"{name}:supply"])
    assert not replayed
    answer, supply, ledger, fee = told(replayed)
    assert answer == ("input 2", "answer", "545", "544", False)
    assert supply[:2] == ("input 2", f"state of {name}:supply")
    assert ledger[:2] == ("input 4", f"state of {name}:LEDGER")
    assert fee == ("input 5", "answer", "0", "1", False)
    assert (replayed.undeclared, replayed.diverged) == (4, (f"{name}:supply", f"{name}:LEDGER"))
    assert json.loads(replayed.to_json())["ok"] is False


def test_below_the_height_nothing_differs_and_above_only_what_is_declared(chain, write_fix):
    fix = write_fix(f"{chain.__name__}:fee", FEE)
    name = chain.__name__
    inputs = [
        call(chain, "fee", 5, height=99),
        call(chain, "pay", "a", 50, height=100, differs=True),
        call(chain, "fee", 500, height=101),
        call(chain, "fee", 5, height=99),  # a block of a fork, which is below
        call(chain, "fee", 5, height=102),
    ]
    replayed = livepatch.replay(fix, inputs, activation=100, declared=[f"{name}:fee"])
    assert replayed.ok
    assert [each[0] for each in told(replayed)] == ["input 2", "input 5"]
    assert all(each.declared for each in replayed.differences)
    assert (replayed.below, replayed.undeclared_below, replayed.calls) == (2, 0, 5)


def test_a_replay_asks_for_nobodys_approval_and_no_time(chain, write_fix, tmp_path, monkeypatch):
    rules = tmp_path / "rules.toml"
    rules.write_text(
        "[[approval]]\nname = 'two'\nroles = { operator = 2 }\n"
        "[[freeze]]\nfrom = '2020-01-01T00:00:00Z'\nto = '2199-01-01T00:00:00Z'\n"
    )
    monkeypatch.setenv("LIVEPATCH_POLICY", str(rules))
    fix = write_fix(f"{chain.__name__}:fee", "def fee(amount): return 30 if amount == 100 else 9")
    with pytest.raises(livepatch.IncompatibleError, match="approvals-missing"):
        livepatch.apply(fix)
    assert livepatch.replay(fix, [call(chain, "fee", 7)]).inputs == 1
    rules.write_text(f"[[protected]]\npaths = ['{chain.__name__}:fee']\napprovals = 2\n")
    with pytest.raises(livepatch.ProtectedError, match="protected-path"):
        livepatch.replay(fix, [call(chain, "fee", 7)])


def test_a_side_that_does_not_answer_ends_it(chain, write_fix):
    fix = write_fix(
        f"{chain.__name__}:fee", "def fee(amount): return 30 if amount == 100 else {}['fee'] if amount == 7 else 9"
    )
    begun = time.monotonic()
    inputs = [call(chain, "fee", 7), call(chain, "die"), call(chain, "where")]
    replayed = livepatch.replay(fix, inputs)
    assert told(replayed)[0][2:4] == ("0", "raised builtins.KeyError('fee')")
    assert told(replayed)[1] == ("input 2", "end", "ended with status 3", "ended with status 9", False)
    assert replayed.unfinished == (
        "input 2: the old side: ended with status 3; input 2: the new side: ended with status 9"
    )
    assert (replayed.inputs, replayed.ok) == (2, False)
    assert time.monotonic() - begun < 25


@pytest.mark.slow
def test_a_side_that_takes_too_long_is_ended_with_all_that_it_has_started(chain, write_fix):
    fix = write_fix(f"{chain.__name__}:fee", "def fee(amount): return 300")
    replayed = livepatch.replay(fix, [call(chain, "wait", 1)], timeout=5)
    assert told(replayed) == [("input 1", "end", "None", "no answer within 5 s", False)]
    assert not replayed.ok


@pytest.mark.slow
def test_what_a_side_has_started_ends_with_it(chain, write_fix, tmp_path):
    fix = write_fix(f"{chain.__name__}:fee", "def fee(amount): return 300")
    inputs = [
        call(chain, "start", str(tmp_path / "pid")),
        *(call(chain, "supply") for _ in range(2000)),
        call(chain, "die"),
    ]
    replayed = livepatch.replay(fix, inputs)
    assert (replayed.inputs, replayed.unfinished[:10]) == (2002, "input 2002")
    child = int((tmp_path / "pid").read_text())
    for _ in range(50):
        status = Path(f"/proc/{child}/stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    raise AssertionError(child)


@pytest.mark.slow
def test_setup_files_and_the_two_sides_are_apart(chain, write_fix):
    fix = write_fix(f"{chain.__name__}:fee", "def fee(amount): return amount // 100")
    inputs = [call(chain, "files"), call(chain, "files"), call(chain, "supply")]
    replayed = livepatch.replay(fix, inputs, setup=f"{chain.__name__}:found")
    assert replayed.ok
    assert not Path("written").exists()


@pytest.mark.slow
def test_a_built_patch_and_its_file(tmp_path, monkeypatch):
    running = Running(tmp_path, monkeypatch, {"m.py": "def f(x): return x\n"}, {"m.py": "def f(x): return x + 1\n"})
    fix = running.build()
    inputs = [{"target": f"{running.name}.m:f", "args": [1]}]
    built = livepatch.replay(fix, inputs)
    assert told(built) == [("input 1", "answer", "1", "2", False)]
    fix.save(tmp_path / "fix.lpatch")
    with pytest.raises(livepatch.TrustError):
        livepatch.replay(tmp_path / "fix.lpatch", inputs)
    assert told(livepatch.replay(tmp_path / "fix.lpatch", inputs, trust=livepatch.UNSIGNED)) == told(built)


@pytest.mark.slow
def test_a_script_is_run_again_but_its_replay_is_not(chain, tmp_path):
    script = tmp_path / "script.py"
    text = f"""
    import livepatch
    fix = livepatch.Patch("SCRIPT", package="specimen", versions="==1.0")
    @fix.replace("{chain.__name__}:fee")
    def fee(amount): return 7
    GUARD
        print(livepatch.replay(fix, [{call(chain, "fee", 5)!r}]).differences[0].new)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for guard, answer, problem in (
        ('if __name__ == "__main__":', "7", ""),
        ("if True:", "", "a replay cannot start another"),
    ):
        script.write_text(textwrap.dedent(text).replace("GUARD", guard))
        done = subprocess.run(
            [sys.executable, script], capture_output=True, text=True, check=False, env=environment, timeout=120
        )
        assert done.stdout.strip() == answer, done.stderr
        assert problem in done.stderr


def test_what_keeps_a_side_from_beginning_is_told(chain, write_fix, new_patch):
    fix = write_fix(f"{chain.__name__}:nothing", "def nothing(): return 1")
    inputs = [call(chain, "fee", 5)]
    with pytest.raises(livepatch.IncompatibleError) as caught:
        livepatch.replay(fix, inputs)
    assert [each.code for each in caught.value.report.errors] == ["no-such-name"]
    with pytest.raises(livepatch.PatchError, match=r"the old side cannot begin: .*:fees is not to be had.*\(input 2\)"):
        livepatch.replay(fix, [*inputs, call(chain, "fees", 5)])


@pytest.mark.slow
@pytest.mark.parametrize("reference", ["nowhere_at_all:fix", "MODULE:chain", "MODULE:LEDGER", "MODULE:die"])
def test_a_name_that_leads_to_no_patch(chain, reference):
    with pytest.raises(livepatch.PatchError, match="the old side"):
        livepatch.replay(reference.replace("MODULE", chain.__name__), [call(chain, "fee", 5)])


@pytest.mark.slow
def test_a_patch_is_found_by_its_name_or_made_by_a_function(chain, write_module):
    module = write_module(
        f"""
        import livepatch
        def made():
            fix = livepatch.Patch("MADE", package="specimen", versions="==1.0")
            @fix.replace("{chain.__name__}:fee")
            def fee(amount): return 7
            return fix
        """
    )
    replayed = livepatch.replay(f"{module.__name__}:made", [call(chain, "fee", 5)])
    assert (replayed.patch_id, told(replayed)) == ("MADE", [("input 1", "answer", "0", "7", False)])
    with pytest.raises(livepatch.PatchError, match="no module of a file that holds the patch"):
        livepatch.replay(module.made(), [call(chain, "fee", 5)])


@pytest.mark.parametrize(
    ("how", "error", "named"),
    [
        ({"activation": -1}, livepatch.PatchError, "activation"),
        ({"activation": True}, livepatch.PatchError, "activation"),
        ({"timeout": -1}, livepatch.PatchError, "timeout"),
        ({"timeout": "1"}, TypeError, "timeout"),
        ({"declared": "m:f"}, TypeError, "declared"),
        ({"declared": ["f"]}, livepatch.PatchError, "declared"),
        ({"observe": [7]}, TypeError, "observe"),
        ({"setup": "f()"}, livepatch.PatchError, "setup"),
        ({"inputs": []}, livepatch.PatchError, "no inputs"),
        ({"inputs": [{"target": "m"}]}, livepatch.PatchError, "input 1"),
    ],
)
def test_wrong_arguments_start_no_process(chain, write_fix, monkeypatch, how: Any, error, named):
    fix = write_fix(f"{chain.__name__}:fee", FEE)
    monkeypatch.setattr("livepatch.replaying.replay.Scratch", None)
    with pytest.raises(error, match=named):
        livepatch.replay(fix, how.pop("inputs", [call(chain, "fee", 5)]), **how)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_the_folder_goes_with_its_process_and_not_with_a_fork_of_it():
    code = """
import os, sys
from livepatch.replaying.folders import temporary_folder
with temporary_folder() as folder:
    child = os.fork()
    if child == 0:
        sys.exit()  # with all that a process does when it ends
    os.waitpid(child, 0)
    print(folder.is_dir())
print(folder.is_dir())
ends = temporary_folder()
print(ends.__enter__(), end="")  # and is never left
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    there, gone, last = done.stdout.split("\n")
    assert (there, gone) == ("True", "False")
    assert not Path(last).exists()
