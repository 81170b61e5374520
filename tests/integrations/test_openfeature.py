"""OpenFeature both ways: modes that follow a service, and flags that the program reads."""

from __future__ import annotations

import threading
import time

import pytest
import structlog

import livepatch

pytest.importorskip("openfeature", reason="needs the extra openfeature")

from openfeature import api
from openfeature.event import ProviderEvent, ProviderEventDetails
from openfeature.exception import ErrorCode, GeneralError
from openfeature.flag_evaluation import FlagResolutionDetails
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

from livepatch.integrations.openfeature import Follower, LivepatchProvider, mode_of


class Service(InMemoryProvider):
    """A flag service whose flags the test sets; each setting is a change event."""

    def __init__(self, **values):
        super().__init__({})
        self.lost = False
        for name, value in values.items():
            self._flags[name] = InMemoryFlag("only", {"only": value})

    def set(self, name, value):
        self._flags[name] = InMemoryFlag("only", {"only": value})
        self.emit_provider_configuration_changed(ProviderEventDetails(flags_changed=[name]))

    def resolve_string_details(self, *arguments, **named):
        if self.lost:
            raise GeneralError("nobody there")
        return super().resolve_string_details(*arguments, **named)

    def resolve_boolean_details(self, *arguments, **named):
        if self.lost:
            raise GeneralError("nobody there")
        return super().resolve_boolean_details(*arguments, **named)


@pytest.fixture
def following():
    """A service under a domain of its own, and a follower of it."""
    made = []

    def make(domain, **values):
        service = Service(**values)
        api.set_provider(service, domain=domain)
        follower = Follower(api.get_client(domain))
        made.append(follower)
        assert follower.settled()
        return service, follower

    yield make
    for each in made:
        each.close()
    api.clear_providers()


@pytest.fixture
def applied(write_module, write_fix):
    m = write_module("def f(): return 'old'\n")
    return livepatch.apply(write_fix(f"{m.__name__}:f", "def f(): return 'new'"), mode="off")


def becomes(applied, mode):
    deadline = time.monotonic() + 10
    while applied.mode != mode and time.monotonic() < deadline:
        time.sleep(0.005)
    return applied.mode == mode


@pytest.mark.parametrize(
    ("value", "mode"),
    [
        (True, "on"), (False, "off"), ("on", "on"), ("off", "off"), ("shadow", "shadow"),
        ("5%", livepatch.split(5)), ("12.5%", livepatch.split(12.5)), ("100%", livepatch.split(100)),
        ("101%", None), ("5", None), ("ON", None), (1, None), (None, None), ("", None), ("-5%", None),
    ],
)  # fmt: skip
def test_what_a_value_means(value, mode):
    assert mode_of(value) == mode


def test_each_change_of_the_service_moves_the_mode(applied, following):
    service, _ = following("moves", **{applied.flag: "5%"})
    assert becomes(applied, livepatch.split(5))  # when it begins
    for value, mode in ((True, "on"), ("20%", livepatch.split(20)), (False, "off"), ("on", "on")):
        service.set(applied.flag, value)
        assert becomes(applied, mode)


def test_a_patch_that_is_applied_later_gets_its_mode(following, write_module, write_fix):
    m = write_module("def f(): return 'old'\n")
    fix = write_fix(f"{m.__name__}:f", "def f(): return 'new'")
    following("later", **{fix.flag: "off"})
    assert becomes(livepatch.apply(fix), "off")


def test_while_the_service_is_lost_what_it_said_last_holds(applied, following):
    service, follower = following("lost", **{applied.flag: True})
    assert becomes(applied, "on")
    service.lost = True
    with structlog.testing.capture_logs() as events:
        service.emit_provider_error(ProviderEventDetails(message="gone", error_code=ErrorCode.GENERAL))
        service.set(applied.flag, False)
        deadline = time.monotonic() + 10
        while sum(e["event"] == "livepatch.flag_not_followed" for e in events) < 2 and time.monotonic() < deadline:
            time.sleep(0.005)
        assert follower.settled()
    assert applied.mode == "on"
    service.lost = False
    service.emit_provider_ready(ProviderEventDetails())
    assert becomes(applied, "off")


@pytest.mark.parametrize("value", ["maybe", 5, {"a": 1}])
def test_a_value_that_means_nothing_leaves_the_mode(applied, following, value):
    _, follower = following("nonsense", **{applied.flag: value})
    assert follower.settled()
    assert applied.mode == "off"


def test_a_flag_that_the_service_does_not_know_leaves_the_mode(applied, following):
    applied.mode = "on"
    _, follower = following("unknown", other=False)
    assert follower.settled()
    assert applied.mode == "on"


def test_without_a_provider_defaults_move_nothing(applied):
    applied.mode = livepatch.split(7)
    follower = Follower(api.get_client("nobody-is-here"))
    assert follower.settled()
    assert applied.mode == livepatch.split(7)
    follower.close()
    follower.close()


def test_a_mode_that_is_refused_leaves_the_one_of_before(applied, following):
    _, follower = following("refused", **{applied.flag: "shadow"})  # which it does not declare itself pure for
    assert follower.settled()
    assert applied.mode == "off"


def test_a_flag_that_is_on_does_not_end_a_measurement(applied, following):
    applied.mode = livepatch.Measured("on")
    _, follower = following("measured", **{applied.flag: True})
    assert follower.settled()
    assert applied.mode == livepatch.Measured("on")


def test_after_close_the_modes_stay(applied, following):
    service, follower = following("closed", **{applied.flag: True})
    assert becomes(applied, "on")
    follower.close()
    service.set(applied.flag, False)
    time.sleep(0.05)
    assert applied.mode == "on"
    assert not any(thread.name == "livepatch-openfeature" for thread in threading.enumerate())
    with pytest.raises(TypeError):
        Follower(5)


def test_the_program_reads_the_flags_by_its_own_sdk(applied):
    api.set_provider(LivepatchProvider(), domain="livepatch")
    client = api.get_client("livepatch")
    changed, seen = threading.Event(), []

    def note(details):
        seen.append(details.flags_changed)
        changed.set()

    client.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, note)
    try:
        assert client.get_boolean_value(applied.flag, True) is False
        applied.mode = "on"
        assert changed.wait(10)
        assert seen == [[applied.flag]]
        assert client.get_boolean_value(applied.flag, False) is True
        assert client.get_string_value(applied.flag, "") == "on"
        applied.mode = livepatch.split(5)
        assert client.get_boolean_details(applied.flag, True).error_code is ErrorCode.TYPE_MISMATCH
        assert client.get_string_value(applied.flag, "") == "split(5%)"
        assert client.get_integer_details(applied.flag, 1).error_code is ErrorCode.TYPE_MISMATCH
        assert client.get_float_details(applied.flag, 1.0).error_code is ErrorCode.TYPE_MISMATCH
        assert client.get_object_details(applied.flag, {}).error_code is ErrorCode.TYPE_MISMATCH
        assert client.get_boolean_details("nobody", True).error_code is ErrorCode.FLAG_NOT_FOUND
        applied.revert()
        assert client.get_boolean_details(applied.flag, True).error_code is ErrorCode.FLAG_NOT_FOUND
    finally:
        api.clear_providers()


def test_a_resolution_that_depends_on_the_default_is_none(applied, following):
    """A provider that echoes what it is given says nothing."""

    class Echo(Service):
        def resolve_string_details(self, flag_key, default_value, evaluation_context=None):
            return FlagResolutionDetails(default_value)

        def resolve_boolean_details(self, flag_key, default_value, evaluation_context=None):
            return FlagResolutionDetails(default_value)

    api.set_provider(Echo(), domain="echo")
    follower = Follower(api.get_client("echo"))
    try:
        assert follower.settled()
        assert applied.mode == "off"
    finally:
        follower.close()
        api.clear_providers()
