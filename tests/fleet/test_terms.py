"""What a node has to know of a rollout, as it stands in the store."""

from __future__ import annotations

import pytest
from tests.fleet.plans import PLAN, inventory, planned

from livepatch.errors import StateError
from livepatch.fleet.cohorts import stage_of
from livepatch.fleet.terms import terms_in, terms_of

WHERE = PLAN.replace(
    'name = "canary"\ncount = 10', 'name = "canary"\nwhere = { region = ["eu", "ü"], label = ["a/b"] }\ncount = 10'
)


def terms(text=PLAN):
    whole = planned(text)
    files = {"file": "sha256:" + "1" * 64, "plan": "sha256:" + "2" * 64, "inventory": "sha256:" + "3" * 64}
    return terms_of(whole, **files, approvals=("sha256:" + "4" * 64,)), whole


def test_what_is_written_is_read_again_and_puts_every_node_into_its_stage():
    for text in (PLAN, PLAN.replace("soak-minutes = 30", "soak-minutes = 33.33333")):
        its, whole = terms(text)
        read = terms_in(its.encoded(), "r-1")
        assert read == its
        assert [stage_of("r-1", read.cuts, node.id, node.traits) for node in whole.nodes] == list(whole.stages)
        assert read.metrics == ("errors", "latency")
        assert read.every == 60.0


def test_traits_and_names_of_any_characters():
    text = WHERE.replace('label = ["a/b"]', 'version = ["2.1.0"]')
    its, whole = terms(text)
    read = terms_in(its.encoded(), "r-1")
    assert read == its
    assert read.cuts[0].where == {"region": ("eu", "ü"), "version": ("2.1.0",)}
    named = PLAN.replace("count = 10", f"nodes = {[f'n{number}' for number in range(10)]}")
    its, whole = terms(named)
    assert terms_in(its.encoded(), "r-1").cuts[0].nodes == {f"n{number}" for number in range(10)}
    assert len(whole.nodes) == len(inventory().nodes)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"r-1"', b'"r-2"'),
        (b'"format":1', b'"format":2'),
        (b'"terms"', b'"directive"'),
        (b'"sha256:1', b'"sha256:g'),
        (b'"sha256:1', b'"sha512:1'),
        (b'"sha256:4', b'"sha256:G'),
        (b'"below":"', b'"below":"-'),
        (b'"below":"', b'"below":"fffffffffffffffff'),
        (b'"consensus":false', b'"consensus":0'),
        (b'"every":60000', b'"every":0'),
        (b'"every":60000', b'"every":60001'),
        (b'"soak":1800000', b'"soak":-1'),
        (b'"soak":1800000', b'"soak":1.5'),
        (b'"nodeclient"', b'"node client"'),
        (b'"where":{}', b'"where":{"colour":["red"]}'),
        (b'"approvals"', b'"approved"'),
    ],
)
def test_terms_are_read_strictly(old, new):
    its, _ = terms()
    data = its.encoded()
    assert old in data
    with pytest.raises(StateError) as caught:
        terms_in(data.replace(old, new, 1), "r-1")
    assert caught.value.found
    assert caught.value.expected
    assert caught.value.action
