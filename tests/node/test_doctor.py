"""What could keep a process from being patched: each fact alone, and none without its finding."""

from __future__ import annotations

import dataclasses
import gc
import sys

import pytest
from tests.signing import PAST, trust_root

import livepatch
from livepatch.engine.environment import Environment
from livepatch.node.doctor import Facts, Folder, Trusted, diagnose
from livepatch.node.facts import folder, gather

SOUND = Environment(
    python=(3, 11, 7),
    has_gil=True,
    optimize=0,
    monitoring_tools=(),
    tracing=None,
    profiling=None,
    audit_hooked=False,
)
STORE = Folder(path="/store", writable=True, free=1 << 40, key_mode=0o600)
TRUST = Trusted(package="p", version=1, expires="2199-01-01T00:00:00Z", days=1000)
FINE = Facts(environment=SOUND, store=STORE, trust=TRUST)


def with_store(**changes) -> Facts:
    return dataclasses.replace(FINE, store=dataclasses.replace(STORE, **changes))


def with_python(**changes) -> Facts:
    return dataclasses.replace(FINE, environment=dataclasses.replace(SOUND, **changes))


def test_nothing_is_found_where_nothing_is_wrong():
    assert diagnose(FINE) == ()
    assert diagnose(Facts(environment=SOUND)) == ()


@pytest.mark.parametrize(
    ("facts", "code", "severity"),
    [
        (with_python(has_gil=False), "free-threaded", "error"),
        (with_python(tracing="coverage"), "tools-active", "warning"),
        (with_python(audit_hooked=True), "audit-hook", "info"),
        (with_python(python=(3, 99, 0)), "interpreter-untested", "warning"),
        (dataclasses.replace(FINE, frozen=10**6), "heap-frozen", "info"),
        (with_store(writable=False), "store-unwritable", "error"),
        (with_store(free=1 << 20), "store-full", "warning"),
        (with_store(key_mode=0o640), "key-readable", "error"),
        (with_store(died=("A",)), "died-on-trial", "warning"),
        (with_store(aside=("A",)), "set-aside", "warning"),
        (dataclasses.replace(FINE, vouches=True), "trust-unsigned", "warning"),
        (dataclasses.replace(FINE, trust=dataclasses.replace(TRUST, days=0)), "trust-expired", "error"),
        (dataclasses.replace(FINE, trust=dataclasses.replace(TRUST, days=29)), "trust-expiring", "warning"),
        (dataclasses.replace(FINE, policy="nonsense"), "policy-unreadable", "error"),
        (dataclasses.replace(FINE, recorded=False), "not-recorded", "warning"),
        (dataclasses.replace(FINE, uids=(1000,)), "others-control", "info"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_each_fact_has_its_finding(facts, code, severity):
    (found,) = diagnose(facts)
    assert (found.code, found.severity) == (code, severity)
    assert found.found
    assert found.expected
    assert found.action


def test_errors_come_first():
    found = diagnose(dataclasses.replace(with_store(writable=False), uids=(1,), recorded=False))
    assert [each.severity for each in found] == ["error", "warning", "info"]


def test_the_facts_of_this_process(tmp_path):
    key = tmp_path / "node.key"
    key.write_text("")
    key.chmod(0o604)
    held = folder(tmp_path, key, ["A"], ["B"])
    assert held == Folder(path=str(tmp_path), writable=True, free=held.free, key_mode=0o604, died=("A",), aside=("B",))
    assert held.free > 0
    assert folder(tmp_path / "none", tmp_path / "none").key_mode is None
    facts = gather(store=held, trust=trust_root(expires=PAST), uids=[0, 4711])
    assert facts.environment.python == sys.version_info[:3]
    assert facts.frozen == gc.get_freeze_count()
    assert facts.trust is not None
    assert facts.trust.days < 0
    assert not facts.vouches
    assert facts.uids == (4711,)
    assert not facts.recorded
    assert gather(trust=livepatch.UNSIGNED, recorded=True).vouches
    assert "No such file" in gather(policy=tmp_path / "nowhere").policy
