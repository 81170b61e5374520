"""The agent: what is done through it, over the socket or in the process, changes process and store together."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time

import pytest
from tests.node.clients import ADMIT, FEE, WAIT
from tests.signing import trust_root
from tests.test_fork import in_child

import livepatch
from livepatch.errors import (
    AuditError,
    BundleError,
    IncompatibleError,
    LivepatchError,
    NodeError,
    PatchError,
    PolicyError,
    ProtectedError,
    StateError,
    TransitionError,
    TrustError,
    UnknownPatchError,
)
from livepatch.govern import audit, recording, telling
from livepatch.node import answering
from livepatch.node.client import Node
from livepatch.node.protocol import (
    Apply,
    Cancel,
    Check,
    Doctor,
    Flag,
    Hello,
    Probes,
    Revert,
    Status,
    Verify,
    request_bytes,
)
from livepatch.node.restoring import Restoration
from livepatch.node.store import Store
from livepatch.node.stored import StoreView
from livepatch.process.live import live

pytestmark = pytest.mark.usefixtures("events")


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def agent(client, store):
    with livepatch.Agent(store, trust=client.root, height=lambda: 100) as made:
        yield made


@pytest.fixture
def node(agent):
    with Node(agent.socket) as made:
        yield made


def wished(store) -> list[tuple[str, str]]:
    return [(each.id, each.mode) for each in StoreView(store).wanted.patches]


def files(store) -> set[str]:
    return {each.name for each in (store / "patches").iterdir()}


# From a file to the process, and back


def test_a_file_goes_in_and_out_over_the_socket(agent, node, client, store):
    fix = client.fix("A", ADMIT)
    report = node.ask(Check(), (fix.read_bytes(),))["report"]
    assert report["ok"]
    assert files(store) == set()
    done = node.ask(Apply(), (fix.read_bytes(),))
    assert client.module.admit(11) == "refused"
    assert done["id"] == "A"
    assert done["status"]["state"] == "settled"
    assert done["report"]["ok"]
    assert wished(store) == [("A", "on")]
    assert files(store) == {f"{done['file'].removeprefix('sha256:')}.lpatch"}

    told = node.ask(Status())
    assert [each["id"] for each in told["patches"]] == ["A"]
    assert told["wanted"][0]["digest"] == done["digest"]
    assert told["on_trial"]
    assert node.ask(Verify())["ok"]

    assert node.ask(Flag(flag="A", mode="off"))["status"]["mode"] == "off"
    assert client.module.admit(11) == "admitted"
    assert wished(store) == [("A", "off")]
    assert node.ask(Flag(flag="A", mode="split(100%)"))["status"]["mode"] == "split(100%)"
    assert client.module.admit(11) == "refused"

    assert node.ask(Revert(id="A"))["status"]["state"] == "reverted"
    assert client.module.admit(11) == "admitted"
    assert wished(store) == []
    assert node.ask(Status())["patches"] == []


def test_the_same_in_the_process(agent, client, store):
    applied = agent.apply(client.fix("A", ADMIT), mode=livepatch.at(100, lambda: 0))
    assert applied.id == "A"
    assert wished(store) == [("A", "at(100)")]
    assert client.module.admit(11) == "refused"  # the agent's height counts, at this start as at the next
    agent.flag("A", "off")
    assert wished(store) == [("A", "off")]
    assert agent.revert("A").state == "reverted"
    assert wished(store) == []
    with pytest.raises(UnknownPatchError):
        agent.revert("never")


def test_a_cumulative_patch_takes_the_place_of_others(agent, node, client, store):
    agent.apply(client.fix("A", ADMIT))
    agent.apply(client.fix("B", FEE))
    node.ask(Apply(replaces=("A",)), (client.fix("C", ADMIT, WAIT).read_bytes(),))
    assert [each.id for each in livepatch.status()] == ["B", "C"]
    assert wished(store) == [("B", "on"), ("C", "on")]


def test_who_asked_is_in_the_record(agent, node, client, store):
    fix = client.fix("A", ADMIT)
    node.ask(Apply(), (fix.read_bytes(),))
    record = node.ask(Hello())["record"]
    node.ask(Revert(id="A"))
    agent.close()
    assert audit.verify(record["folder"], key=record["key"])
    told = [(each["event"], each["phase"], each["who"]) for each in telling.entries(record["folder"])]
    assert [each[:2] for each in told if each[0] in ("applied", "reverted")] == [
        ("applied", "intent"),
        ("applied", "done"),
        ("reverted", "intent"),
        ("reverted", "done"),
    ]
    assert all(each[2].startswith("user ") for each in told)


# The next start


def test_what_was_applied_is_in_before_the_block_begins(client, store):
    with livepatch.Agent(store, trust=client.root) as agent:
        agent.apply(client.fix("A", ADMIT))
        agent.apply(client.fix("B", FEE))
        agent.flag("B", "off")
        assert [each.state for each in agent.standings] == ["applied", "applied"]
    for name in ("A", "B"):
        livepatch.revert(name)  # as a new process begins
    with livepatch.Agent(store, trust=client.root) as agent:
        assert client.module.admit(11) == "refused"
        assert {each.id: each.mode for each in livepatch.status()} == {"A": "on", "B": "off"}
        agent.revert("A")
    livepatch.revert("B")
    with livepatch.Agent(store, trust=trust_root(package=client.package, channel="beta")) as agent:
        assert livepatch.status() == ()
        (aside,) = agent.standings
        assert aside.state == "aside"
        assert [(each.code, each.found) for each in agent.examine() if each.code == "set-aside"] == [
            ("set-aside", f"that these are wished for, and not in: {aside.id}")
        ]
        assert "stable" in aside.reason
        with Node(agent.socket) as node:
            assert node.ask(Status())["wanted"][0]["reason"] == aside.reason
        assert agent.revert("B") is None
        assert agent.standings == ()
    assert wished(store) == []


def test_a_module_that_comes_later_gets_it_as_it_is_wished_for_then(client, store):
    with livepatch.Agent(store, trust=client.root) as agent:
        agent.apply(client.fix("A", ADMIT))
    livepatch.revert("A")
    client.unload()
    with livepatch.Agent(store, trust=client.root) as agent, Node(agent.socket) as node:
        (waiting,) = node.ask(Status())["wanted"]
        assert waiting["state"] == "waiting"
        assert waiting["waits_for"] == [f"{client.package}.pool"]
        client.load()
        assert client.module.admit(11) == "refused"
        assert [each["id"] for each in node.ask(Status())["patches"]] == ["A"]
        agent.revert("A")
        client.unload()
        client.load()
        assert client.module.admit(11) == "admitted"


def test_a_start_that_is_interrupted_leaves_the_process_as_it_was(client, store, monkeypatch):
    with livepatch.Agent(store, trust=client.root) as agent:
        agent.apply(client.fix("A", ADMIT))
    livepatch.revert("A")
    real = Restoration.start

    def start(restoration, wishes):
        real(restoration, wishes)
        raise KeyboardInterrupt

    monkeypatch.setattr(Restoration, "start", start)
    with pytest.raises(KeyboardInterrupt):
        livepatch.Agent(store, trust=client.root).start()
    assert livepatch.status() == ()
    assert client.module.admit(11) == "admitted"
    assert not (store / "control.sock").exists()
    assert wished(store) == [("A", "on")]


# What others do to its patches


def until(holds) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_the_set_follows_what_others_do(agent, client, store):
    agent.apply(client.fix("A", ADMIT))
    applied = agent.apply(client.fix("B", FEE), mode="off")
    livepatch.flags["B"] = "on"
    until(lambda: wished(store) == [("A", "on"), ("B", "on")])
    applied.mode = livepatch.split(50, key=lambda size: size)  # which cannot be written down
    livepatch.revert("A")
    until(lambda: wished(store) == [("B", "on")])
    until(lambda: [each.id for each in agent.standings] == ["B"])
    applied.revert()
    agent.close()  # which waits for that
    assert wished(store) == []


def test_a_switch_that_the_program_turns_round_is_not_wished_for(agent, client, store):
    agent.apply(client.fix("A", ADMIT))
    caller = threading.Thread(target=client.module.wait)
    caller.start()
    try:
        agent.apply(client.fix("C", ADMIT, WAIT), replaces=["A"], consistency="chain")
        assert wished(store) == [("C", "on")]
        livepatch.cancel("C")
        until(lambda: wished(store) == [("A", "on")])
    finally:
        client.module.gate.set()
        caller.join()


def test_what_is_reverted_after_its_last_request_is_wished_for_no_more(agent, client, store):
    agent.apply(client.fix("A", ADMIT))
    agent.flag("A", "off")
    livepatch.revert("A")  # not turned round: the mode before is not wished for either
    until(lambda: wished(store) == [])
    agent.apply(client.fix("A", ADMIT))
    agent.apply(client.fix("B", FEE))
    agent.apply(client.fix("C", ADMIT, WAIT), replaces=["A"])
    livepatch.revert("C")  # which does not bring back what it replaced
    until(lambda: wished(store) != [("B", "on"), ("C", "on")])
    assert wished(store) == [("B", "on")]
    assert [each.id for each in livepatch.status()] == ["B"]


def test_what_could_not_be_kept_is_tried_again(agent, client, store, monkeypatch, events):
    agent.apply(client.fix("A", ADMIT))
    failing(monkeypatch, agent, 1)
    livepatch.revert("A")
    until(lambda: any(each["event"] == "livepatch.set_does_not_follow" for each in events))
    assert wished(store) == [("A", "on")]
    livepatch.check(livepatch.Patch("B", package=client.package, versions="==1.0"))
    until(lambda: wished(store) == [])


def test_what_waits_or_stands_aside_is_not_taken_for_gone(client, store):
    with livepatch.Agent(store, trust=client.root) as agent:
        agent.apply(client.fix("A", ADMIT))
        agent.apply(client.fix("B", FEE))
    livepatch.revert("A")
    livepatch.revert("B")
    client.unload()
    with livepatch.Agent(store, trust=client.root) as agent:
        agent.operations.keep()
        assert wished(store) == [("A", "on"), ("B", "on")]
    with livepatch.Agent(store, trust=trust_root(package=client.package, channel="beta")) as agent:
        assert [each.state for each in agent.standings] == ["aside", "aside"]
        agent.operations.keep()
        assert wished(store) == [("A", "on"), ("B", "on")]


# What is refused leaves everything as it was


def test_what_is_refused_leaves_process_and_store_as_they_were(agent, node, client, store):
    before = StoreView(store).wanted.patches
    code = client.module.admit.__code__

    def refused(kind, request, *parts):
        with pytest.raises(kind) as caught:
            node.ask(request, parts)
        assert caught.value.found
        assert caught.value.expected
        assert caught.value.action
        assert client.module.admit.__code__ is code
        assert StoreView(store).wanted.patches == before
        assert not StoreView(store).wanted.trial
        assert files(store) == set()
        assert livepatch.status() == ()
        return caught.value

    sound = client.fix("A", ADMIT).read_bytes()
    unsigned = client.fix("unsigned", ADMIT, signers="").read_bytes()
    refused(TrustError, Apply(), unsigned)
    refused(TrustError, Check(), unsigned)
    assert (
        "operator" in refused(TrustError, Apply(), client.fix("half", ADMIT, signers="alice carol").read_bytes()).found
    )
    refused(BundleError, Apply(), b"no patch file")
    refused(BundleError, Apply(), b"")
    refused(PatchError, Apply(mode="half"), sound)
    refused(PatchError, Apply(consistency="some"), sound)
    refused(IncompatibleError, Apply(replaces=("B",)), sound)
    refused(TrustError, Apply(), sound, b"no approval")
    refused(TrustError, Check(), sound, b"no approval")
    assert list((store / "approvals").rglob("*.json")) == []
    refused(UnknownPatchError, Flag(flag="A", mode="off"))
    refused(UnknownPatchError, Revert(id="never"))
    refused(TransitionError, Cancel(id="A"))
    with livepatch.protect(client.package):
        error = refused(ProtectedError, Apply(), sound)
        assert error.report.protected
        assert [each.code for each in error.report.errors] == ["protected-path"]
    assert node.ask(Apply(), (sound,))["id"] == "A"


def failing(monkeypatch, agent, at: int):
    """Lets the store fail at its n-th write from now on, once."""
    real, count = Store._write, [0]

    def write(store, wanted):
        count[0] += 1
        if count[0] == at:
            raise StateError("no", found="a full disk", expected="room", action="make room")
        real(store, wanted)

    monkeypatch.setattr(Store, "_write", write)


@pytest.mark.parametrize("at", [1, 2])
def test_a_store_that_cannot_be_written_takes_the_switch_back(agent, client, store, monkeypatch, at):
    agent.apply(client.fix("A", ADMIT))
    before = wished(store)
    code = client.module.admit.__code__
    failing(monkeypatch, agent, at)
    with pytest.raises(StateError, match="a full disk"):
        agent.apply(client.fix("B", FEE))
    assert wished(store) == before
    assert client.module.fee(3) == 3
    assert client.module.admit.__code__ is code
    assert [each.id for each in livepatch.status()] == ["A"]
    assert len(files(store)) == 1


def test_what_was_replaced_comes_back_with_it(agent, client, store, monkeypatch):
    agent.apply(client.fix("A", ADMIT), mode="off")
    agent.apply(client.fix("B", FEE))
    failing(monkeypatch, agent, 2)
    with pytest.raises(StateError, match="a full disk"):
        agent.apply(client.fix("C", ADMIT, FEE), replaces=["A", "B"])
    assert wished(store) == [("A", "off"), ("B", "on")]
    assert {each.id: each.mode for each in livepatch.status()} == {"A": "off", "B": "on"}
    assert client.module.fee(3) == 6
    assert client.module.admit(11) == "admitted"


def test_a_mode_that_cannot_be_kept_is_taken_back(agent, client, store, monkeypatch):
    agent.apply(client.fix("A", ADMIT))
    failing(monkeypatch, agent, 1)
    with pytest.raises(StateError, match="a full disk"):
        agent.flag("A", "off")
    assert livepatch.flags["A"] == "on"
    assert wished(store) == [("A", "on")]


def test_the_way_back_is_not_taken_back(agent, client, store, monkeypatch):
    agent.apply(client.fix("A", ADMIT))
    failing(monkeypatch, agent, 1)
    with pytest.raises(StateError, match="out of the process, and still in the set"):
        agent.revert("A")
    assert client.module.admit(11) == "admitted"
    assert wished(store) == [("A", "on")]
    assert agent.revert("A") is None  # it is out already
    assert wished(store) == []
    assert agent.revert("A") is None


def test_a_patch_of_the_program_s_own_is_not_kept(agent, node, write_module, write_fix, store):
    target = write_module("def f():\n    return 1\n")
    fix = write_fix(f"{target.__name__}:f", "def f():\n    return 2")
    livepatch.apply(fix)
    assert node.ask(Flag(flag=fix.flag, mode="off"))["status"]["mode"] == "off"
    assert target.f() == 1
    assert wished(store) == []
    assert node.ask(Revert(id=fix.id))["status"]["state"] == "reverted"


# Busy, stuck and under way


def test_it_answers_while_the_event_loop_is_stuck(client, store):
    patched = []

    async def stuck():
        async with livepatch.Agent(store, trust=client.root) as agent:
            fix = client.fix("A", ADMIT).read_bytes()

            def operator():
                with Node(agent.socket) as node:
                    node.ask(Apply(), (fix,))
                    patched.append(client.module.admit(11))

            thread = threading.Thread(target=operator)
            thread.start()
            while thread.is_alive():  # the loop itself: nothing else of it runs meanwhile
                time.sleep(0.01)  # noqa: ASYNC251  # that is what is tried

    asyncio.run(stuck())
    assert patched == ["refused"]


def test_what_drains_is_told_until_it_has(agent, node, client):
    caller = threading.Thread(target=client.module.wait)
    caller.start()
    seen = []

    def progress(told):
        seen.append(told["status"])
        client.module.gate.set()

    fix = client.fix("A", ADMIT, WAIT)
    done = node.ask(Apply(consistency="chain", drain=20), (fix.read_bytes(),), on_progress=progress)
    caller.join()
    assert seen[0]["state"] == "draining"
    assert done["status"]["state"] == "settled"


def test_a_switch_that_waits_can_be_cancelled_and_others_wait_for_it(agent, node, client, store):
    caller = threading.Thread(target=client.module.wait)
    caller.start()
    fix = client.fix("A", WAIT).read_bytes()
    raised = []

    def operator():
        with Node(agent.socket) as other:
            with pytest.raises(TransitionError) as caught:
                other.ask(Apply(consistency="quiescent", timeout=20), (fix,))
            raised.append(caught.value)

    thread = threading.Thread(target=operator)
    thread.start()
    end = time.monotonic() + 10
    while livepatch.process.live.live.busy_with != "A":
        assert time.monotonic() < end
        time.sleep(0.005)
    assert node.ask(Hello())["pid"] == os.getpid()
    assert node.ask(Status())["patches"] == []
    with pytest.raises(TransitionError, match="another request was still under way"):
        node.ask(Revert(id="A", timeout=0.05))
    node.ask(Cancel(id="A"))
    thread.join()
    client.module.gate.set()
    caller.join()
    assert "cancel" in str(raised[0])
    assert wished(store) == []


def test_who_leaves_at_once_is_served_all_the_same(agent, node, client, store):
    gone = Node(agent.socket)
    gone._socket.sendall(request_bytes(Apply(drain=5), (client.fix("A", ADMIT).read_bytes(),)))
    gone.close()
    until(lambda: wished(store) == [("A", "on")])
    assert [each["id"] for each in node.ask(Status())["patches"]] == ["A"]


def odd(dice: random.Random, file: bytes):
    """A request that the protocol lets through, and that makes little sense."""
    text = dice.choice(["on", "off", "", "split(5%)", "at(7)", "shadow", "\x00", "x" * 299, "chain", "quiescent"])
    name = dice.choice(["neither", "nor", "x", "0" * 128])
    broken = bytearray(file)
    for _ in range(dice.randrange(4)):
        broken[dice.randrange(len(broken))] = dice.randrange(256)
    return dice.choice(
        [
            (Apply(mode=text, consistency=dice.choice(["", text]), replaces=(name,), timeout=0.01), (bytes(broken),)),
            (Check(mode=text, timeout=0.01), (bytes(broken), file[:100])),
            (Flag(flag=name, mode=text, timeout=0), ()),
            (Revert(id=name, consistency=text), ()),
            (Cancel(id=name), ()),
        ]
    )


def asked_oddly(node, client, store, times: int) -> None:
    file = client.fix("Z", ADMIT, signers="alice").read_bytes()
    code, dice = client.module.admit.__code__, random.Random(times)
    for _ in range(times):
        with pytest.raises(LivepatchError) as caught:
            node.ask(*odd(dice, file))
        assert caught.value.found
        assert "the node failed" not in str(caught.value)
    assert node.ask(Hello())["pid"] == os.getpid()
    assert livepatch.status() == ()
    assert wished(store) == []
    assert files(store) == set()
    assert client.module.admit.__code__ is code


def test_what_makes_no_sense_is_refused_by_an_error_that_says_so(node, client, store):
    asked_oddly(node, client, store, 60)


@pytest.mark.slow
def test_what_makes_no_sense_is_refused_however_often(node, client, store):
    asked_oddly(node, client, store, 10_000)


# The agent itself


def test_two_cannot_have_one_store_or_one_process(agent, client, tmp_path):
    with pytest.raises(NodeError, match="has an agent already"):
        livepatch.Agent(tmp_path / "other", trust=client.root).start()
    assert not (tmp_path / "other").exists()
    agent.close()
    with Store(tmp_path / "store"), pytest.raises(StateError, match="another process has the store"):
        livepatch.Agent(tmp_path / "store", trust=client.root).start()
    with livepatch.Agent(tmp_path / "store", trust=client.root) as again:
        assert again.socket.exists()


def test_a_start_that_fails_leaves_nothing(client, store, tmp_path):
    threads = threading.active_count()
    (store).mkdir(mode=0o700)
    (store / "control.sock").write_text("in the way")
    with pytest.raises(NodeError, match="no socket"):
        livepatch.Agent(store, trust=client.root).start()
    assert recording.in_use() is None
    assert threading.active_count() == threads
    (store / "control.sock").unlink()
    (store / "record").rename(tmp_path / "record")
    (store / "record").write_text("in the way")
    with pytest.raises(AuditError):
        livepatch.Agent(store, trust=client.root).start()
    (store / "record").unlink()
    with livepatch.Agent(store, trust=client.root):
        pass


def test_a_record_of_the_program_s_own_stays(client, store, tmp_path):
    with Store(store) as made:
        key = made.key_file
    kept = livepatch.record_to(tmp_path / "own", key=key)
    try:
        with livepatch.Agent(store, trust=client.root) as agent, Node(agent.socket) as node:
            assert node.ask(Hello())["record"]["folder"] == str(tmp_path / "own")
            assert recording.in_use() is kept
        assert recording.in_use() is kept
    finally:
        livepatch.record_to(None)


def test_without_a_socket_the_store_serves_all_the_same(client, store):
    with livepatch.Agent(store, trust=client.root, socket=None) as agent:
        assert agent.socket is None
        agent.apply(client.fix("A", ADMIT))
        assert wished(store) == [("A", "on")]
        assert not (store / "control.sock").exists()


def test_a_closed_one_says_so(client, store):
    agent = livepatch.Agent(store, trust=client.root)
    for call in (lambda: agent.store, lambda: agent.operations, lambda: agent.revert("A"), agent.about, agent.examine):
        with pytest.raises(NodeError, match="does not run"):
            call()
    with agent:
        agent.apply(client.fix("A", ADMIT))
    agent.close()
    assert client.module.admit(11) == "refused"
    with pytest.raises(NodeError, match="does not run"):
        agent.revert("A")


def test_a_child_has_none(agent, client):
    def child():
        assert "not running" in repr(agent)
        agent.close()
        with pytest.raises(NodeError):
            agent.revert("A")

    in_child(child)
    with Node(agent.socket) as node:
        assert node.ask(Hello())["pid"] == os.getpid()


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (TypeError, {"store": 5}),
        (TypeError, {"trust": None}),
        (TypeError, {"trust": "trust.json"}),
        (TypeError, {"policy": 5}),
        (TypeError, {"height": 5}),
        (TypeError, {"socket": 5}),
        (TypeError, {"uids": "1000"}),
        (TypeError, {"uids": [-1]}),
        (TypeError, {"uids": [True]}),
        (TypeError, {"guard": "10"}),
        (PatchError, {"guard": -1}),
        (PatchError, {"max_pause": -1}),
        (PatchError, {"max_rest": -1}),
        (TypeError, {"max_rest": "0"}),
        (TypeError, {"name": 5}),
        (TypeError, {"probes": 5}),
        (TypeError, {"rules": 5}),
        (PatchError, {"interval": 0.0}),
    ],
)
def test_a_wrong_argument_is_named(kind, changes, store):
    given = {"store": store, "trust": livepatch.UNSIGNED, **changes}
    with pytest.raises(kind) as caught:
        livepatch.Agent(given.pop("store"), **given)
    assert next(iter(changes)) in str(caught.value)
    assert not store.exists()


# What it is asked besides


def test_who_it_is(agent, node):
    told = node.ask(Hello())
    assert told["node"] == "store"
    assert told["pid"] == os.getpid()
    assert time.time() - 60 < told["started"] <= time.time()


def test_the_doctor_looks_at_the_process(node, store):
    told = node.ask(Doctor())
    assert told["ok"], told["findings"]
    assert {each["severity"] for each in told["findings"]} <= {"info", "warning"}
    (store / "node.key").chmod(0o644)
    told = node.ask(Doctor())
    assert not told["ok"]
    assert told["findings"][0]["code"] == "key-readable"


def test_it_asks_the_probes_of_its_patches(node, client, monkeypatch):
    monkeypatch.setattr(live, "known", {})  # other tests' patches are none of ours
    assert node.ask(Probes())["outcomes"] == []
    node.ask(Apply(), (client.fix("A", ADMIT, probed=True).read_bytes(),))
    told = node.ask(Probes(timeout=10))
    assert [(each["patch_id"], each["where"], each["verdict"]) for each in told["outcomes"]] == [("A", "live", "fixed")]
    assert told["ok"]
    node.ask(Flag(flag="A", mode="off"))
    told = node.ask(Probes())
    assert not told["ok"]
    assert [(each["severity"], each["code"]) for each in told["findings"]] == [("error", "hole-open")]


def test_its_probes_are_asked_by_one_at_a_time(node, monkeypatch):
    monkeypatch.setattr(live, "known", {})
    with answering._probing, pytest.raises(NodeError, match="the probes are being asked"):
        node.ask(Probes())
    assert node.ask(Probes())["ok"]


def test_a_policy_that_cannot_be_read_is_found(client, store, tmp_path):
    (tmp_path / "rules.toml").write_text("[[nonsense]]\n")
    with livepatch.Agent(store, trust=client.root, policy=tmp_path / "rules.toml") as agent, Node(agent.socket) as node:
        assert "policy-unreadable" in [each["code"] for each in node.ask(Doctor())["findings"]]
        with pytest.raises(PolicyError):
            node.ask(Apply(), (client.fix("A", ADMIT).read_bytes(),))
