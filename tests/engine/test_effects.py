"""What statements that run apart enter into live registries is found and taken out; what others enter stays."""

from __future__ import annotations

from types import ModuleType

from livepatch.engine.effects import Registries

SOURCE = """
REGISTRY = {}
HANDLERS = []
SEEN = set()

class Kind:
    known = {}

class App:
    def __init__(self):
        self.routes = {}

app = App()

def register(f):
    REGISTRY[f.__name__] = f
    HANDLERS.append(f)
    SEEN.add(f)
    Kind.known[f.__name__] = f
    app.routes["/"] = f
    return f

@register
def first(): return 1
"""


def world():
    module = ModuleType("registering")
    exec(SOURCE, vars(module))
    return module, Registries({"registering": module}, ["registering"])


def test_entries_of_scratch_functions_are_taken_out_and_named():
    module, kept = world()
    first = module.first
    scratch = dict(vars(module))
    exec("@register\ndef first(): return 2\n@register\ndef second(): return 3", scratch)
    assert module.REGISTRY["first"] is not first
    found = kept.clean([scratch])
    assert {
        "registering:REGISTRY",
        "registering:HANDLERS",
        "registering:SEEN",
        "registering:Kind.known",
        "registering:app.routes",
    } <= set(found)
    assert module.REGISTRY == {"first": first}
    assert module.HANDLERS == [first]
    assert module.SEEN == {first}
    assert module.Kind.known == {"first": first}
    assert module.app.routes == {"/": first}


def test_scratch_classes_and_their_instances_are_found_too():
    module, kept = world()
    scratch = dict(vars(module))
    exec(
        "class New:\n  def m(self): pass\nREGISTRY[New] = 1\nHANDLERS.append(New())\nHANDLERS.append(New().m)", scratch
    )
    assert kept.clean([scratch])
    assert list(module.REGISTRY) == ["first"]
    assert module.HANDLERS == [module.first]


def test_what_others_enter_meanwhile_stays_and_is_no_effect(monkeypatch):
    monkeypatch.setattr("livepatch.engine.effects.is_alone", lambda: False)
    module, kept = world()
    exec("@register\ndef late(): return 4\nREGISTRY['plain'] = 5", vars(module))
    assert kept.clean([dict(vars(module))]) == []
    assert set(module.REGISTRY) == {"first", "late", "plain"}
    assert module.late in module.HANDLERS


def test_where_there_is_no_other_thread_plain_changes_are_put_back(monkeypatch):
    monkeypatch.setattr("livepatch.engine.effects.is_alone", lambda: True)
    module, kept = world()
    scratch = dict(vars(module))
    exec("REGISTRY['n'] = 1\nHANDLERS.insert(0, 'x')\nSEEN.add(5)\nKind.count = 3\nKind.known['k'] = 2", scratch)
    exec("app.routes['/a'] = 1\nNEW = 1\nHANDLERS2 = HANDLERS\nHANDLERS = []", vars(module))
    assert kept.clean([scratch]) == []
    assert list(module.REGISTRY) == ["first"]
    assert module.HANDLERS == [module.first]
    assert module.SEEN == {module.first}
    assert list(module.Kind.known) == ["first"]
    assert list(module.app.routes) == ["/"]
    assert not hasattr(module.Kind, "count")
    assert not hasattr(module, "NEW")


TABLES = """
BY_NAME, BY_FUNCTION, LISTED = {}, {}, []
def register(f):
    BY_NAME[f.__name__] = BY_FUNCTION[f] = f
    LISTED.append(f)
    return f
@register
def first(): pass
"""


def test_new_entries_of_dicts_are_taken_out_and_given():
    module = ModuleType("registering")
    exec(TABLES, vars(module))
    kept = Registries({"registering": module}, ["registering"])
    scratch = dict(vars(module))
    exec("@register\ndef second(): pass\n@register\ndef first(): pass", scratch)
    found = {(each.label, each.key): each.value for each in kept.entered([scratch])}
    assert found == {
        ("registering:BY_NAME", "second"): scratch["second"],
        ("registering:BY_FUNCTION", scratch["second"]): scratch["second"],
        ("registering:BY_FUNCTION", scratch["first"]): scratch["first"],
    }
    assert set(module.BY_NAME) == {"first"}
    assert set(module.BY_FUNCTION) == {module.first}
    # What takes the place of an entry, and what is appended, is for a refusal.
    assert kept.clean([scratch]) == ["registering:BY_NAME", "registering:LISTED"]
    assert module.BY_NAME == {"first": module.first}


def test_nothing_is_given_of_a_dict_into_which_the_old_release_enters_as_well():
    module = ModuleType("registering")
    exec(TABLES, vars(module))
    kept = Registries({"registering": module}, ["registering"])
    before, after = dict(vars(module)), dict(vars(module))
    exec("@register\ndef first(): pass", before)
    kept.note_old([before])
    exec("@register\ndef first(): pass", after)
    # The new side's would be a second entry, beside the one that it is to take the place of.
    assert kept.entered([after]) == []
    assert kept.clean([before, after]) == ["registering:BY_NAME", "registering:BY_FUNCTION", "registering:LISTED"]
    assert set(module.BY_FUNCTION) == {module.first}


def test_registries_in_closures_of_functions_are_looked_into():
    import functools

    module = ModuleType("registering")
    exec("import functools\n@functools.singledispatch\ndef handle(v): return 'any'", vars(module))
    kept = Registries({"registering": module}, ["registering"])
    scratch = dict(vars(module))
    exec("@handle.register(int)\ndef _(v): return 'int'", scratch)
    assert kept.clean([scratch]) == ["registering:handle"]
    assert dict(module.handle.registry).keys() == {object}
    assert isinstance(functools.singledispatch, object)
