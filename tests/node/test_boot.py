"""A client that was never changed, started with ``livepatch run``: it and its children come up with the patches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.built import Release

import livepatch
from livepatch.cli.main import main
from livepatch.cli.run import _isolated
from livepatch.errors import StateError
from livepatch.node import agent, boot
from livepatch.node.boot import VARIABLE, Given, environment
from livepatch.node.store import Store
from livepatch.node.stored import StoreView

ROOT = Path(__file__).resolve().parents[2]
OLD = {"one.py": "def one():\n    return 'old'\n"}
NEW = {"one.py": "def one():\n    return 'new'\n"}
CLIENT = """
import multiprocessing, os, sys
from bootclient.one import one

def work(number):
    return one()

if __name__ == "__main__":
    print(one(), *sys.argv[1:], flush=True)
    for method in sys.argv[2:]:
        with multiprocessing.get_context(method).Pool(1) as pool:
            print(method, *pool.map(work, [1]), flush=True)
    exec(os.environ.get("LAST", ""))
"""


Done = subprocess.CompletedProcess[str]


class Node:
    """A client in a folder, its package, and a store with a patch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, version, files in (("site", "1.0", OLD), ("new", "1.1", NEW)):
            Release(folder / name, "bootclient", version, files)
        (folder / "client.py").write_text(CLIENT)
        patch = livepatch.build(folder / "site", folder / "new", package="bootclient", id="FIX", versions="==1.0")
        with Store(folder / "store") as store:
            with store.changing([store.install(patch.to_bytes()).wish()]):
                pass

    def run(self, *arguments: str, last: str = "", options: tuple[str, ...] = ("--unsigned",)) -> Done:
        """By the command."""
        command = [sys.executable, "-m", "livepatch", "run", "--store", "store", *options, "--"]
        return self._started([*command, sys.executable, "client.py", *arguments], last, {})

    def started(self, last: str = "") -> Done:
        """As the command would start it, without that."""
        return self._started(
            [sys.executable, "client.py"], last, environment(Given(store=str(self.folder / "store")), {})
        )

    def _started(self, command: list[str], last: str, more: dict[str, str]) -> Done:
        path = [*more.pop("PYTHONPATH", "").split(":"), str(ROOT / "src"), str(self.folder / "site")]
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, **more, "PYTHONPATH": ":".join(filter(None, path)), "LAST": last},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @property
    def store(self) -> StoreView:
        return StoreView(self.folder / "store")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.mark.parametrize("methods", [["fork", "spawn"], pytest.param(["forkserver"], marks=pytest.mark.slow)])
def test_the_client_and_its_children_come_up_with_it(methods: list[str], node: Node):
    ask = "from livepatch.cli.main import main; main(['status', '--node', 'store']); sys.exit(7)"
    done = node.run("-x", *methods, last=ask)
    first, *told = done.stdout.splitlines()
    assert first == f"new -x {' '.join(methods)}"
    assert told[: len(methods)] == [f"{method} new" for method in methods]
    agent, patch, *others = told[len(methods) :]
    assert agent.startswith("store, process ")
    assert patch == "  FIX: settled, on, 1 target"
    assert all(each.startswith("  process ") for each in others)  # such as one that multiprocessing keeps
    assert done.returncode == 7
    assert "livepatch.restored" in done.stderr
    assert "sitecustomize" not in done.stderr
    assert node.store.wanted.trial is None
    assert main(["audit", "verify", str(node.store.record_folder)]) == 0


@pytest.mark.parametrize(
    "last",
    [
        "os.kill(os.getpid(), 9)",
        pytest.param("raise KeyError('mine')", marks=pytest.mark.slow),
    ],
)
def test_a_client_that_dies_of_it_comes_up_without(last: str, node: Node):
    assert node.started(last=last).stdout == "new\n"
    assert node.store.wanted.trial is not None
    done = node.started()
    assert done.stdout == "old\n"
    assert "died_on_trial" in done.stderr
    assert "FIX" in done.stderr
    assert [each.id for each in node.store.wanted.fallen] == ["FIX"]


@pytest.mark.slow
def test_a_start_waits_for_one_that_only_looks_and_lets_go_at_once(tmp_path, monkeypatch):
    given = Given(store=str(tmp_path / "store"), pid=os.getpid())
    with Store(given.store) as looking:
        monkeypatch.setattr(boot, "is_held", lambda _: looking.close())  # gives None: it is free by now
        boot._own(given)
    with pytest.raises(StateError, match="another process"):
        Store(given.store)
    agent._current.close()
    Path(given.store, "wanted").write_text("damaged")
    with pytest.raises(StateError, match="cannot be read"):
        boot._own(given)


def test_a_sitecustomize_of_ones_own_is_run_as_well(node: Node):
    (node.folder / "site" / "sitecustomize.py").write_text("print('mine')\n")
    # The first is of the interpreter that runs livepatch itself.
    assert node.run(last="import sitecustomize; print(sitecustomize.__file__)").stdout == (
        f"mine\nmine\nnew\n{node.folder / 'site' / 'sitecustomize.py'}\n"
    )


def test_an_interpreter_without_livepatch_says_so_and_only_the_program_itself_ends(tmp_path: Path):
    """One of another environment: -S keeps it from what is installed, and the module is run as it would be found."""
    start = ROOT / "src" / "livepatch" / "node" / "start" / "sitecustomize.py"
    code = f"import os, runpy\nos.environ.update(PID)\nrunpy.run_path({str(start)!r})\nprint('on')"
    for own, outcome in ((False, ("on\n", 0)), (True, ("", 2))):
        claim = f"{{{VARIABLE!r}: f'{{{{\"pid\": {{os.getpid()}},}}}}'}}" if own else "{}"
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code.replace("PID", claim)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.stdout, done.returncode) == outcome
        assert "it has no livepatch" in done.stderr


@pytest.mark.slow
def test_a_client_that_cannot_come_up_with_it_does_not_come_up(node: Node):
    assert "it is not said who answers" in node.run(options=()).stderr
    done = node.run(options=("--trust", "missing.json"))
    assert (done.stdout, done.returncode) == ("", 1)
    with Store(node.folder / "store"):
        done = node.run()
        assert (done.stdout, done.returncode) == ("", 2)
        assert "another process has the store" in done.stderr
    text = Given(store=str(node.folder / "store"), trust=str(node.folder / "missing.json"), pid=0).to_text()
    for own in (False, True):
        claim = f"os.environ[{VARIABLE!r}] = text.replace('\"pid\": 0', f'\"pid\": {{os.getpid()}}')" if own else ""
        begin = "import livepatch.node.boot as boot\nboot.begin()\nprint('on')"
        code = f"import os\ntext = os.environ[{VARIABLE!r}]\n{claim}\n{begin}"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), VARIABLE: text},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.stdout, done.returncode) == (("", 2) if own else ("on\n", 0))
        assert "trust root cannot be read" in done.stderr


OPS = """
from livepatch.health.probes import HealthProbe, fds

lag = HealthProbe("ops/lag", lambda: 5, "blocks", quick=True)

def several():
    return [fds()]

def height():
    from bootclient.one import one
    return len(one())
"""
TOLD = """
import sys, time
from livepatch.node.agent import _current as agent
while agent.health()["state"] != "breach":
    time.sleep(0.02)
print(sorted(each["name"] for each in agent.health()["probes"]), agent._given.height())
given = agent._given
print(given.watching.watchdog.interval, given.uids, given.max_pause, given.max_rest, agent.socket.name)
print(sys.path.count(os.getcwd()))
"""


@pytest.mark.slow
def test_the_agent_is_given_what_can_be_named(node: Node):
    (node.folder / "ops.py").write_text(OPS)
    (node.folder / "rules.toml").write_text('[[rule]]\nprobe = "ops/lag"\nabove = 3\n')
    options = ("--unsigned", "--probes", "ops:lag", "--probes", "ops:several", "--rules", "rules.toml")
    options += ("--interval", "0.05", "--height", "ops:height", "--socket", "store/own.sock", "--uid", "12")
    done = node.run(last=TOLD, options=(*options, "--max-pause", "0.5", "--max-rest", "2"))
    assert done.stdout.splitlines()[1:] == [
        "['ops/lag', 'process/fds'] 3",
        f"0.05 {frozenset({12})} 0.5 2.0 own.sock",
        "1",  # the program's own folder, as without livepatch
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("missing:probe", "import missing: ModuleNotFoundError"),
        ("ops:probe", "no probe in"),
        ("ops:height", "KeyError"),
    ],
)
def test_a_name_of_nothing_is_told_and_the_client_does_not_come_up(node: Node, name: str, told: str):
    (node.folder / "ops.py").write_text("def height():\n    raise KeyError('x')\n")
    done = node.run(options=("--unsigned", "--probes", name))
    assert (done.stdout, done.returncode) == ("", 2)
    assert told in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["--unsigned", "--", "no-such-program"], 2, "no such program"),
        (["--unsigned", "--", sys.executable, "-I", "client.py"], 2, "-I"),
        (["--unsigned", "--", sys.executable, "-uE", "client.py"], 2, "-E"),
        (["--unsigned", "--trust", "x", "--", "true"], 1, "cannot be read"),
        (["--unsigned", "--policy", "x", "--", "true"], 2, "policy"),
        (["--unsigned", "--probes", "probes", "--", "true"], 2, "found: 'probes'; expected: module:name"),
        (["--unsigned", "--height", "client.chain", "--", "true"], 2, "--height is no name"),
        (["--unsigned", "--rules", "missing.toml", "--", "true"], 2, "missing.toml"),
        (["--unsigned", "--interval", "0", "--", "true"], 2, "0.01 to 3600 s"),
        (["--unsigned", "--fleet", "fleet.db", "--", "true"], 2, "a node in a fleet has a trust root"),
        (["--unsigned", "--region", "eu", "--", "true"], 2, "--region says something about a fleet"),
    ],
)
def test_what_run_refuses(arguments, status, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "execve", None)
    assert main(["run", *arguments]) == status
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_script_may_name_an_interpreter_that_takes_nothing(tmp_path, capsys):
    script = tmp_path / "client"
    script.write_text("#!/usr/bin/python3 -Es\n")
    script.chmod(0o755)
    assert main(["run", "--store", str(tmp_path / "s"), "--unsigned", "--", str(script)]) == 2
    assert "-E" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ("", ""), ("client.py -I", ""), ("-m client -E", ""), ("-c pass -S", ""), ("-u -B client.py", ""),
        ("-W error -I x", "-I"), ("-Werror -sS x", "-S"), ("-X dev -m client", ""), ("-bI", "-I"), ("- -I", ""),
        ("--version", ""), ("-WI x", ""), ("-uWI x", ""), ("--check-hash-based-pycs always -I x", "-I"),
    ],
)  # fmt: skip
def test_options_by_which_python_takes_nothing(words: str, flag: str):
    assert _isolated(words.split()) == flag


def test_what_is_handed_on():
    given = Given(
        store="/a/ü", trust="/t", state="", node="n7", policy="/p", guard_ms=5, pid=12, probes="a:b\nc:d.e", rules="/r",
        interval_ms=20, height="m:h", folder="/f", socket="/s", uids="5 6", max_pause="0.5", max_rest="2", fleet="tls://h",
        region="eu", labels="x y\nz", credentials="/1", ca="/2", certificate="/3", key="/4",
    )  # fmt: skip
    assert all(getattr(given, name) for name in Given.__slots__ if name != "state")
    assert Given.parse(given.to_text()) == given
    made = environment(given, {"PYTHONPATH": "/x:/y", "HOME": "/h"})
    assert made["HOME"] == "/h"
    assert made["PYTHONPATH"].split(":")[1:] == ["/x", "/y"]
    assert environment(given, made) == made
    for text in ("", "{}", "[]", '{"store": 1}', given.to_text() + "x", given.to_text().replace("12", "-1"), "ü" * 99):
        with pytest.raises(StateError):
            Given.parse(text)
