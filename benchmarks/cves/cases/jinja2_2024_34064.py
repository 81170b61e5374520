# /// case
# id = "CVE-2024-34064"
# package = "Jinja2"
# vulnerable = "3.1.3"
# fixed = "3.1.4"
# what = "the keys of xmlattr may end the attribute (cross-site scripting)"
# shape = "a decorated function, a regular expression in place of another"
# requires = ["MarkupSafe==2.1.5"]
# modules = ["jinja2"]
# only = ["jinja2.filters:do_xmlattr"]
# ///
"""Spaces were looked for, but a slash and a greater-than sign end a name as well."""

from jinja2 import Environment

TEMPLATE = Environment(autoescape=True).from_string("<a{{ attributes|xmlattr }}>")


def exploit() -> bool:
    try:
        return "onfocus=" in TEMPLATE.render(attributes={"x/onfocus=alert()//": "1"})
    except ValueError:
        return False


def regression() -> None:
    assert TEMPLATE.render(attributes={"class": "big", "id": None}) == '<a class="big">'
    try:
        TEMPLATE.render(attributes={"a b": 1})
    except ValueError:
        return
    raise AssertionError("a space was accepted")
