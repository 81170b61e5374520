"""The beginning of a rollout: what all need to know of it is put into the shared state, and then it is started.

Whoever takes it up later, controller or node, needs nothing but the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from livepatch.bundle import codec
from livepatch.bundle.envelope import digest, read_bundle
from livepatch.bundle.trust import admitted
from livepatch.errors import RolloutError, StateError
from livepatch.fleet.inventory import inventory_in
from livepatch.fleet.keys import flag_key, terms_key
from livepatch.fleet.planfile import rollout_in
from livepatch.fleet.planning import Planned, plan
from livepatch.fleet.running import send
from livepatch.fleet.standing import Command
from livepatch.fleet.state import ABSENT, Store, names_in
from livepatch.fleet.terms import Terms, terms_in, terms_of

__all__ = ["Files", "begin", "flags_in", "planned_in", "terms_at"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What a rollout is made of, as bytes, and where plan and inventory came from."""

    plan: bytes
    inventory: bytes
    patch: bytes
    approvals: Sequence[bytes] = ()
    plan_source: str = "the plan"
    inventory_source: str = "the inventory"


def begin(store: Store, files: Files, *, who: str) -> Planned:
    """Put a rollout into the store, and start it.  What it comes to.  Twice is harmless.

    Raises :class:`RolloutError` if it must not start, the patch file is another one than the plan's, `who` is no
    promoter, or another rollout has its id or flag; :class:`PolicyError`, :class:`BundleError` or :class:`TrustError`
    for files that cannot be read; :class:`StateError`.  Then it has not been started.
    """
    rollout = rollout_in(files.plan, files.plan_source)
    inventory = inventory_in(files.inventory, files.inventory_source)
    used = {flag: by for flag, by in flags_in(store).items() if by != rollout.id}
    planned = plan(rollout, inventory, used=used)
    _check_patch(planned, files.patch)
    if who not in rollout.promoters:
        raise RolloutError(
            f"rollout {rollout.id} is not started",
            found=f"{who}, who is no promoter",
            expected=" or ".join(rollout.promoters),
            action="let one of them start it, or correct the plan",
        )
    terms = terms_of(
        planned,
        file=store.keep(files.patch),
        approvals=tuple(dict.fromkeys(map(store.keep, files.approvals))),
        plan=store.keep(files.plan),
        inventory=store.keep(files.inventory),
    )
    is_new = store.put(terms_key(rollout.id), terms.encoded(), expected=ABSENT) is not None
    if not is_new and terms_at(store, rollout.id) != terms:
        raise RolloutError(
            f"rollout {rollout.id} is not started",
            found="another rollout of that id in the store, with other files",
            expected="an id that no rollout has had",
            action="give this rollout a new id, and its patch a new flag",
        )
    send(store, rollout.id, Command(kind="start", who=who, order=0))
    return planned


def flags_in(store: Store) -> Mapping[str, str]:
    """The flags that rollouts have used, with those rollouts' ids.  Raises :class:`StateError`."""
    prefix = flag_key("x").removesuffix("x")
    return {names_in(entry.key)[1]: (entry.value or b"").decode("utf-8", "replace") for entry in store.entries(prefix)}


def terms_at(store: Store, rollout: str) -> Terms:
    """The terms of a rollout in the store.  Raises :class:`StateError`, also if there is none of that id."""
    entry = store.get(terms_key(rollout))
    if entry is None or entry.value is None:
        raise StateError(
            f"there is no rollout {rollout}",
            found="no such id in the store",
            expected="a rollout that was started: livepatch rollout status names them",
            action="correct the id or the store",
        )
    return terms_in(entry.value, rollout)


def planned_in(store: Store, terms: Terms) -> Planned:
    """The plan of a rollout on its nodes, from the store.

    Raises :class:`StateError` for files that are not there or are others, and for terms that the plan does not come to.
    """
    files = {}
    for name, its in (("plan", terms.plan), ("inventory", terms.inventory)):
        data = store.fetch(its)
        if data is None:
            raise _disagreeing(terms, f"no file {its}", f"its {name}")
        files[name] = data
    planned = plan(rollout_in(files["plan"], "the plan"), inventory_in(files["inventory"], "the inventory"))
    again = terms_of(planned, file=terms.file, approvals=terms.approvals, plan=terms.plan, inventory=terms.inventory)
    if again != terms:
        raise _disagreeing(terms, "terms that its plan does not come to", "those of the plan and the inventory")
    return planned


def _disagreeing(terms: Terms, found: str, expected: str) -> StateError:
    return StateError(
        f"rollout {terms.rollout} cannot be taken up",
        found=found,
        expected=expected,
        action="see who can write to the store; abort the rollout, and start it anew with another id",
    )


def _check_patch(planned: Planned, data: bytes) -> None:
    """The file holds the patch that the plan is about.  Who has signed it is asked at each node."""
    its = planned.rollout.patch
    bundle = admitted(read_bundle(data), None, digest(data))
    found = codec.decode(bundle).id
    if (bundle.digest, found) != (its.digest, its.id):
        raise RolloutError(
            f"rollout {planned.rollout.id} is not started: the patch file is another one than the plan's",
            found=f"{found}, {bundle.digest}",
            expected=f"{its.id}, {its.digest}",
            action="give the file that the plan was written for, or write its digest into the plan",
        )
