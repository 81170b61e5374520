"""The example node: a network of processes that takes fixes while blocks go on, and gives them back."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.examples.running import EXAMPLES, ROOT

import livepatch

NODE = EXAMPLES / "node"
FIXES = {
    "POOL": "minichain.mempool",
    "PEERS": "minichain.p2p",
    "RULES": "minichain.consensus:check_transaction",
}


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """The modules of the example: the network, and the attacks on it."""
    monkeypatch.syspath_prepend(NODE)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    yield importlib.import_module("network"), importlib.import_module("attacks")
    del sys.modules["network"], sys.modules["attacks"]


@pytest.fixture
def start(example: tuple[Any, Any], tmp_path: Path) -> Callable[..., Any]:
    """Make a network, which is started by entering it."""

    def make(nodes: int = 4, **settings: object) -> Any:
        quick = {"block_time": 0.2, "trust": "UNSIGNED", **settings}
        return example[0].Network(tmp_path / "network", nodes, **quick)

    return make


@pytest.fixture
def fixes(tmp_path: Path) -> dict[str, str]:
    """The patch files, built from the two releases."""
    files = {}
    for name, only in FIXES.items():
        fix = livepatch.build(
            NODE / "1.0.0", NODE / "1.0.1", package="minichain", id=name, only=[only], compatible_with=">=1.0,<1.1"
        )
        assert fix.obstacles == ()
        files[name] = str(tmp_path / f"{name}.lpatch")
        fix.save(files[name])
    return files


def apply(network: Any, number: int, file: str, mode: str = "on") -> dict[str, Any]:
    answer = network.operate(number, "apply", file, "--mode", mode, "--yes")
    assert "error" not in answer, answer
    return answer["result"]["status"]


def revert(network: Any, number: int, name: str) -> None:
    answer = network.operate(number, "revert", name, "--yes")
    assert "error" not in answer, answer


def standing(network: Any, number: int) -> dict[str, Any]:
    return network.operate(number, "status")["result"]


def log(network: Any, number: int) -> str:
    return (network.folder / network.names[number] / "log").read_text()


def everywhere(network: Any) -> range:
    return range(len(network.names))


def speaks(network: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """What each node says of each other one."""
    return {
        (one, other): told
        for number, one in enumerate(network.names)
        for other, told in network.ask(number, "peers").items()
    }


def check_no_fork(network: Any) -> list[dict[str, Any]]:
    """The chain, which is the same in all nodes as far as each of them is."""
    end = min(network.heights())
    calls = [("block", {"height": height}) for height in range(1, end + 1)]
    chains = [network.ask_all(number, calls) for number in everywhere(network)]
    assert all(chain == chains[0] for chain in chains)
    assert [block["parent"] for block in chains[0][1:]] == [block["hash"] for block in chains[0][:-1]]
    return chains[0]


def apply_before(network: Any, file: str, margin: int = 40) -> int:
    """Apply the fix of the rules on all nodes for a height that none has reached when the last one has it."""
    while True:
        height = max(network.heights()) + margin
        for number in everywhere(network):
            assert apply(network, number, file, f"at({height})")["mode"] == f"at({height})"
        if max(network.heights()) < height - 10:
            return height
        for number in everywhere(network):
            revert(network, number, "RULES")
        margin *= 2


def test_the_releases_differ_in_the_flaws_and_in_nothing_else():
    old, new = (
        {path.name: path.read_text() for path in (NODE / release / "minichain").iterdir() if path.is_file()}
        for release in ("1.0.0", "1.0.1")
    )
    assert old.keys() == new.keys()
    differing = {name for name in old if old[name] != new[name]}
    assert differing == {"__init__.py", "consensus.py", "mempool.py", "p2p.py"}


def test_a_network_takes_three_fixes_while_blocks_go_on(start, example, fixes):
    attacks = example[1]
    with start() as network:
        network.wait_for_height(5)
        network.wait(lambda: len(speaks(network)) == 12, "full mesh")

        # Consensus: refused without a height, and dormant until it.
        refused = network.operate(0, "apply", fixes["RULES"], "--yes")["error"]
        assert (refused["kind"], refused["action"].partition(",")[0]) == (
            "ProtectedError",
            "give it an activation height",
        )
        height = apply_before(network, fixes["RULES"])
        assert attacks.steal(network, 1) == "taken"

        # The pool takes any number of one sender, and so has no room for others.
        taken, heard = attacks.flood(network, 1)
        assert taken > 100
        assert heard == "refused: the pool is full"
        for number in everywhere(network):
            apply(network, number, fixes["POOL"])
        network.wait(lambda: not any(network.metrics(n)["mempool_transactions"] for n in everywhere(network)), "room")
        assert attacks.flood(network, 1) == (20, "taken")

        # Open connections: the attacker has been there before the fix is.
        with closing(attacks.Leech(network, 0)) as leech:
            assert leech.ask(60) == 60
            apply(network, 0, fixes["PEERS"])
            assert leech.ask(400) < 400  # 20 for each second that begins meanwhile
        check_words(network, fixed={0})
        for number in (1, 2, 3):
            apply(network, number, fixes["PEERS"])
        check_words(network, fixed={0, 1, 2, 3})

        network.wait(lambda: "as in node-1, node-2, node-3" in log(network, 0), "the same patches")

        # Whatever a peer says that it speaks, it is sent away, or a peer like others.
        for said in ("?", "AA", "A" * 5000, 5, {}, [None]):
            with closing(attacks.Leech(network, 0, "stranger", said)) as stranger:
                assert stranger.ask(1) == 0
        for said in (None, "", "Ag"):  # nothing, and a format that is newer
            with closing(attacks.Leech(network, 0, "newer", said)) as newer:
                assert newer.ask(1) == 1
                network.wait(lambda: network.ask(0, "peers").get("newer", {}).get("relation") == "mixed", "a peer")
            network.wait(lambda: "newer" not in network.ask(0, "peers"), "the end of it")

        # And back.
        for number in everywhere(network):
            revert(network, number, "PEERS")
        check_words(network, fixed=set())
        with closing(attacks.Leech(network, 0, "again")) as leech:
            assert leech.ask(60) == 60

        # The height: every node has the other rules from the same block on, though thieves try at each of them.
        while not attacks.steal(network, 2).startswith("refused: amount"):
            network.wait_for_height(min(network.heights()) + 1)
        assert network.ask(2, "status")["height"] >= height - 1
        network.wait_for_height(height + 3)
        assert {attacks.steal(network, number)[:15] for number in everywhere(network)} == {"refused: amount"}
        chain = check_no_fork(network)
        thefts = [block["height"] for block in chain for each in block["transactions"] if each["amount"] < 0]
        assert thefts
        assert max(thefts) < height
        assert network.metrics(3)["height"] > height
        assert set(network.stop().values()) == {0}
        assert "Traceback" not in "".join(log(network, number) for number in everywhere(network))


def check_words(network: Any, fixed: set[int]) -> None:
    """Each two nodes agree on what they have in common, though some have a fix that brings a word."""
    names = {network.names[number] for number in fixed}
    old, new = ["blocks/1", "tx/1"], ["blocks/1", "blocks/2", "tx/1"]

    def is_so() -> bool:
        said = speaks(network)
        return all(
            told["common"] == (new if {one, other} <= names else old)
            and told["relation"] == ("alike" if (one in names) == (other in names) else "mixed")
            for (one, other), told in said.items()
            if other in network.names
        )

    network.wait(is_so, f"agreement on words with {sorted(names)} fixed")


@pytest.mark.slow
def test_a_node_that_was_away_catches_up_from_nodes_with_and_without_the_fix(start, fixes):
    with start(block_time=0.05, round_timeout=0.5) as network:
        network.wait_for_height(5)
        network.kill(3)
        for number in (0, 1):
            apply(network, number, fixes["PEERS"])
        for release, speaking in (("1.0.0", {0, 1}), ("1.0.1", {0, 1, 3})):
            network.wait_for_height(max(network.heights()) + 60)  # three pages
            network.start(3, release)
            network.wait_for_height(max(network.heights()) + 5)
            check_words(network, fixed=speaking)
            check_no_fork(network)
            network.kill(3)


@pytest.mark.slow
def test_a_hundred_switches_beside_payments_lose_no_answer_and_no_height(start, fixes):
    with start(block_time=0.05, round_timeout=0.5) as network:
        network.wait_for_height(2)
        paid = 0
        for cycle in range(25):
            number = cycle % 4
            for name in ("POOL", "PEERS"):
                apply(network, number, fixes[name])
            nonce = network.ask(0, "account", name="alice")["nonce"] + 1
            given = {"sender": "alice", "receiver": "bob", "amount": 1, "nonce": nonce}
            paid += network.ask((number + 1) % 4, "send", **given) == "taken"
            for name in ("PEERS", "POOL"):
                revert(network, number, name)
            network.wait_for_height(min(network.heights()) + 1)
        assert paid > 8
        network.wait(lambda: network.ask(3, "account", name="alice")["nonce"] == paid, "all payments in blocks")
        assert network.ask(1, "account", name="bob")["balance"] == 1000 + paid
        check_no_fork(network)


@pytest.mark.slow
def test_nodes_that_are_killed_come_up_with_their_fixes_and_switch_at_the_height_all_the_same(start, example, fixes):
    attacks = example[1]
    with start(block_time=0.05, round_timeout=0.5, guard=0.2) as network:
        network.wait_for_height(2)
        height = apply_before(network, fixes["RULES"], margin=150)
        for number in everywhere(network):
            apply(network, number, fixes["POOL"])
        for cycle in range(8):
            number = cycle % 4
            network.wait(lambda number=number: not standing(network, number)["on_trial"], "the end of the trial")
            network.kill(number)
            attacks.steal(network, (number + 1) % 4)
            network.start(number)
            network.wait_for_height(max(network.heights()[:number], default=0) + 2)
            wished = {each["id"]: each["state"] for each in standing(network, number)["wanted"]}
            assert wished == {"RULES": "applied", "POOL": "applied"}
        network.wait_for_height(height + 3)
        assert {attacks.steal(network, number)[:15] for number in everywhere(network)} == {"refused: amount"}
        thefts = [
            block["height"] for block in check_no_fork(network) for each in block["transactions"] if each["amount"] < 0
        ]
        assert thefts
        assert max(thefts) < height


@pytest.mark.slow
def test_nodes_that_are_killed_at_any_moment_go_on_from_whole_blocks(start):
    with start(block_time=0.05, round_timeout=0.5) as network:
        for cycle in range(12):
            network.wait_for_height(max(network.heights(), default=0) + 3)
            network.kill(cycle % 4)
            network.start(cycle % 4)
        network.wait_for_height(max(network.heights()) + 5)
        check_no_fork(network)
