"""Policy files: what they say, and that nothing misspelt passes for a rule."""

from __future__ import annotations

import pytest

from livepatch.compat.policy import LARGEST, Policy, merged, read_policy
from livepatch.contents.claims import RoundTrip
from livepatch.errors import PolicyError

WHOLE = """
[[protected]]
paths = ["nodeclient.consensus.*", "nodeclient.node:Node.add_block"]
reason = "every node must judge a block alike"
approvals = 2

[[protected]]
paths = ["nodeclient.rewards"]

[[protocol]]
paths = ["nodeclient.wire"]
reason = "peers run other releases"

[[protocol.round_trip]]
encode = "nodeclient.wire:encode"
decode = "nodeclient.wire:Message.decode"
values = "nodeclient.examples:MESSAGES"
"""


def test_a_whole_policy_is_read():
    policy = read_policy(WHOLE.encode(), "livepatch.toml")
    first, second = policy.protected
    assert list(map(str, first.paths)) == ["nodeclient.consensus.*", "nodeclient.node:Node.add_block"]
    assert (first.reason, first.approvals, first.source) == (
        "every node must judge a block alike",
        2,
        "livepatch.toml",
    )
    assert (second.reason, second.approvals) == ("", 0)
    (protocol,) = policy.protocols
    assert list(map(str, protocol.paths)) == ["nodeclient.wire"]
    assert protocol.round_trips == (
        RoundTrip(
            encode="nodeclient.wire:encode",
            decode="nodeclient.wire:Message.decode",
            values="nodeclient.examples:MESSAGES",
        ),
    )
    assert policy


def test_an_empty_file_is_a_policy_without_rules():
    assert read_policy(b"", "x") == Policy()
    assert not read_policy(b"# nothing yet\n", "x")


@pytest.mark.parametrize(
    ("text", "where", "told"),
    [
        ("[[protectd]]\npaths = ['a']", "protectd", "one of protected, protocol"),
        ("protected = 1", "protected", "[[protected]]"),
        ("[protected]\npaths = ['a']", "protected", "[[protected]]"),
        ("protected = [1]", "protected", "[[protected]]"),
        ("[[protected]]", "protected[0].paths", "found: nothing"),
        ("[[protected]]\npaths = []", "protected[0].paths", "an empty list"),
        ("[[protected]]\npaths = 'a'", "protected[0].paths", "found: a text"),
        ("[[protected]]\npaths = ['a', 7]", "protected[0].paths[1]", "found: a whole number"),
        ("[[protected]]\npaths = ['*']", "protected[0].paths[0]", "found: '*'"),
        ("[[protected]]\npaths = ['a']\npath = 'b'", "protected[0].path", "one of paths, reason, approvals"),
        ("[[protected]]\npaths = ['a']\napprovals = '2'", "protected[0].approvals", "found: a text"),
        ("[[protected]]\npaths = ['a']\napprovals = true", "protected[0].approvals", "true or false"),
        ("[[protected]]\npaths = ['a']\napprovals = 1.0", "protected[0].approvals", "a float"),
        ("[[protected]]\npaths = ['a']\napprovals = -1", "protected[0].approvals", "0 to 100"),
        ("[[protected]]\npaths = ['a']\nreason = 1", "protected[0].reason", "found: a whole number"),
        ("[[protected]]\npaths = ['a']\nreason = \"\\u001b[2J\"", "protected[0].reason", "in one line"),
        ("[[protected]]\npaths = ['a']\n[[protected]]\npaths = ['b c']", "protected[1].paths[0]", "'b c'"),
        ("[[protocol]]\npaths = ['a']\napprovals = 1", "protocol[0].approvals", "an unknown key"),
        ("[[protocol]]\npaths = ['a']\nround_trip = 'a'", "protocol[0].round_trip", "[[protocol[0].round_trip]]"),
        ("[[protocol]]\npaths = ['a']\n[[protocol.round_trip]]\nencode = 'a:b'\ndecode = 'a:c'",
         "protocol[0].round_trip[0].values", "'package.module:name'"),
        ("[[protocol]]\npaths = ['a']\n[[protocol.round_trip]]\nencode = 'a'\ndecode = 'a:c'\nvalues = 'a:V'",
         "protocol[0].round_trip[0].encode", "found: 'a'"),
        ("[[protocol]]\npaths = ['a']\n[[protocol.round_trip]]\nencode = 'a:b'\ndecode = 'a:c'\nvalues = 'a:V'\nx = 1",
         "protocol[0].round_trip[0].x", "an unknown key"),
        ("paths = [", "readable", "expected: TOML"),
        ("a = " + "[" * 20_000, "readable", "expected: TOML"),
        (f"protected = [{'{paths = [1]},' * 1001}]", "protected", "1000 items or fewer"),
        (f"[[protected]]\npaths = [{'1,' * 1001}]", "protected[0].paths", "1001 items"),
        ("#" * (LARGEST + 1), "policy", "bytes or fewer"),
    ],
)  # fmt: skip
def test_what_is_no_policy_is_told_with_its_place(text, where, told):
    with pytest.raises(PolicyError) as caught:
        read_policy(text.encode(), "livepatch.toml")
    assert str(caught.value).startswith("livepatch.toml is no")
    assert where in str(caught.value)
    assert told in str(caught.value)
    assert caught.value.action


def test_bytes_that_are_no_text():
    with pytest.raises(PolicyError, match="TOML in UTF-8"):
        read_policy(b"\xff\xfe", "x")


def test_policies_are_only_added_to_each_other():
    one, other = read_policy(WHOLE.encode(), "a"), read_policy(b"[[protected]]\npaths = ['b']", "b")
    both = merged([one, other, Policy()])
    assert both.protected == one.protected + other.protected
    assert both.protocols == one.protocols
