"""Commands that the documents name exist, with the options that stand there; those of the runbook are run by tests."""

from __future__ import annotations

import re
import runpy

import pytest
from tests.docs.documents import DOCUMENTS, GUIDES, ROOT, blocks, name_of

from livepatch.cli.main import parser

MANUAL = runpy.run_path(str(ROOT / "tools" / "manpage.py"))
COMMANDS = {
    each.words: {name for action in each.parser._actions for name in action.option_strings}
    for each in MANUAL["commands"](parser(), "livepatch")
}
WITH_ACTIONS = {words.rpartition(" ")[0] for words in COMMANDS} & COMMANDS.keys()


def commands_of(text: str) -> list[list[str]]:
    """Each ``livepatch …`` of inline code and of code on lines of its own, in words, without what is behind ``--``."""
    lines = re.sub(r"\\\n\s*", " ", text)
    fenced = re.findall(r"^```\w*\n(.*?)^```$", lines, re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^```\w*\n.*?^```$", "", lines, flags=re.DOTALL | re.MULTILINE)
    code = "\n".join([*fenced, *re.findall(r"^ {4,}.*$", prose, re.MULTILINE)])
    found = re.findall(r"`(livepatch [^`]*)`", prose.replace("\n", " "))
    found += re.findall(r"(?:^ *(?:! )?|; do |until )(livepatch [^\n;|#]*)", code, re.MULTILINE)
    return [re.split(r"\s+-- ", each)[0].split() for each in found]


def named(words: list[str]) -> str:
    """The command, with its action if it has some and one is named."""
    command = " ".join(words[:2])
    action = " ".join(words[:3])
    return action if command in WITH_ACTIONS and action in COMMANDS else command


def said(text: str) -> list[list[str]]:
    return [words for words in commands_of(text) if len(words) > 1 and re.fullmatch(r"[a-z]+", words[1])]


@pytest.mark.parametrize("document", [each for each in DOCUMENTS if each.name != "CHANGELOG.md"], ids=name_of)
def test_each_command_exists_and_takes_what_it_is_given(document):
    shown = re.sub(
        r"<!-- prints -->\n```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    for words in said(shown):
        command = named(words)
        assert command in COMMANDS, " ".join(words)
        options = {word.partition("=")[0].strip("'\",.)") for word in words if word.startswith("-") and word != "--"}
        taken = COMMANDS[command].union(*(COMMANDS[each] for each in COMMANDS if each.startswith(f"{command} ")))
        assert options <= taken, " ".join(words)


def test_the_runbook_names_only_commands_that_it_or_a_guide_types():
    run = [block for each in GUIDES for block in blocks(each) if block.what == "shell" or block.name == "start.sh"]
    typed = {named(words) for block in run for words in said(f"```sh\n{block.text}```")}
    (runbook,) = [each for each in GUIDES if each.name == "runbook.md"]
    assert {named(words) for words in said(runbook.read_text(encoding="utf-8"))} - typed == {"livepatch docs"}
