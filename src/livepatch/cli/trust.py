"""``livepatch trust``: make, sign, change, rotate and show trust roots."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livepatch.cli.output import add_json, in_line, print_json, print_lines
from livepatch.cli.trusting import add_signer, signer_of
from livepatch.contents.identity import check_name
from livepatch.errors import PatchError, TrustError, spelled

if TYPE_CHECKING:
    from livepatch.bundle.envelope import Envelope
    from livepatch.bundle.signing import Holder, Role
    from livepatch.bundle.trustroot import TrustRoot

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "make, sign, change, rotate and show trust roots"
DESCRIPTION = """\
A trust root says whose signatures a process trusts: which keys, in which roles, how
many, for which package and channel, and until when.  Its roles are root (who signs
trust roots), author, security-reviewer and operator (who sign patch files).

  init    write version 1, which is still to be signed, into a new file
  sign    add a signature
  change  write the next version, which is still to be signed, into a new file
  rotate  put the next version in the place of the one that is trusted
  show    print one"""
EXAMPLE = """\
livepatch trust init trust.json --package nodeclient --expires 2027-12-31T00:00:00Z \\
    --add root=root.pub --add author=alice.pub \\
    --add security-reviewer=carol.pub --add operator=erin.pub
livepatch trust sign trust.json --key root"""
_ROLE = "ROLE=PATH, or ROLE=HOLDER:PATH to name who holds the key; by default the file's own name"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    def action(name: str, act: Callable[[argparse.Namespace], bool], text: str) -> argparse.ArgumentParser:
        own = actions.add_parser(name, help=text, description=text.capitalize() + ".", allow_abbrev=False)
        own.set_defaults(act=act)
        add_json(own)
        return own

    init = action("init", _init, "write version 1 of a trust root, which is still to be signed")
    init.add_argument("file", metavar="FILE", help="the file to write")
    init.add_argument("--package", required=True, metavar="NAME", help="the distribution that it speaks for")
    init.add_argument("--channel", default="stable", metavar="NAME", help="the channel; by default stable")
    _add_terms(init, required=True)

    sign = action("sign", _sign, "add a signature to a trust root")
    sign.add_argument("file", metavar="FILE", help="the trust root")
    add_signer(sign)

    change = action("change", _change, "write the next version of a trust root, which is still to be signed")
    change.add_argument("file", metavar="FILE", help="the trust root that is in force")
    change.add_argument("-o", "--output", required=True, metavar="FILE", help="the file to write")
    change.add_argument(
        "--remove", action="append", default=[], metavar="ROLE=KEYID", help="take this key out of this role"
    )
    _add_terms(change, required=False)

    rotate = action("rotate", _rotate, "put the next versions in the place of the trust root that is trusted")
    rotate.add_argument("file", metavar="FILE", help="the trust root that is trusted")
    rotate.add_argument("newer", nargs="+", metavar="NEWER", help="the next version, and those after it, in order")

    rotate.add_argument("--state", metavar="FILE", help="the file in which this node remembers the highest versions")

    show = action("show", _show, "print a trust root")
    show.add_argument("file", metavar="FILE", help="the trust root")


def _add_terms(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--add", action="append", default=[], metavar="ROLE=PATH", help=f"a public key: {_ROLE}")
    parser.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="ROLE=N",
        help="how many holders must sign in this role; 1 by default",
    )
    parser.add_argument(
        "--expires", required=required, metavar="MOMENT", help="until when it holds, such as 2027-03-31T00:00:00Z"
    )


def run(given: argparse.Namespace) -> bool:
    """Do what the action says."""
    done: bool = given.act(given)
    return done


def _init(given: argparse.Namespace) -> bool:
    from livepatch.bundle.trustroot import encode_root

    keys, roles = _changed({}, {}, given, removed=())
    lacking = [f"--add {role}=KEY.pub" for role in ("root", "author") if role not in roles]
    if lacking:
        raise PatchError(
            "a trust root names who may sign its next version, and who may sign patches",
            found=f"no {' and no '.join(lacking)}",
            expected="a public key in each of the roles root and author",
            action=f"make keys with `livepatch keygen FILE`, and give {' '.join(lacking)}",
        )
    envelope = encode_root(
        package=given.package, channel=given.channel, version=1, expires=given.expires, keys=keys, roles=roles
    )
    return _written(given.file, envelope, given, "wrote", new=True)


def _sign(given: argparse.Namespace) -> bool:
    from livepatch.bundle.signing import sign

    root = _read(given.file, signed=False)
    signer = signer_of(given)
    if not any(signer.key.id in role.keyids for name, role in root.roles.items() if name == "root"):
        # The next version is signed by the root keys of the one before as well, which it may no longer name.
        _warn_stranger(signer.key.id)
    return _written(given.file, sign(root.envelope, signer), given, "signed")


def _warn_stranger(keyid: str) -> None:
    import sys

    sys.stderr.write(
        f"livepatch trust: the key {keyid} is no root key of this version; its signature counts only if it is one of "
        "the version before\n"
    )


def _change(given: argparse.Namespace) -> bool:
    from livepatch.bundle.trustroot import encode_root

    root = _read(given.file, signed=True)
    keys, roles = _changed(root.keys, root.roles, given, removed=given.remove)
    envelope = encode_root(
        package=root.package,
        channel=root.channel,
        version=root.version + 1,
        expires=given.expires or root.expires,
        keys=keys,
        roles=roles,
    )
    return _written(given.output, envelope, given, "wrote", new=True)


def _rotate(given: argparse.Namespace) -> bool:
    from livepatch.bundle.disk import read_for_trust
    from livepatch.bundle.remembered import see_roots
    from livepatch.bundle.trustroot import LARGEST_ROOT, clock

    roots = [_read(given.file, signed=True)]
    for path in given.newer:
        roots.append(roots[-1].rotate(read_for_trust(path, 4 * LARGEST_ROOT, "the trust root")))
    root = roots[-1]
    root.must_be_current(clock())
    if given.state is not None:
        see_roots(given.state, roots)
    return _written(given.file, root.envelope, given, "rotated")


def _show(given: argparse.Namespace) -> bool:
    root = _read(given.file, signed=False)
    facts = _facts(given.file, root)
    if given.json:
        print_json(facts)
    else:
        print_lines(_told(facts))
    return bool(facts["signed"])


def _read(path: str, *, signed: bool) -> TrustRoot:
    from livepatch.bundle.disk import read_for_trust
    from livepatch.bundle.trustroot import LARGEST_ROOT, TrustRoot

    data = read_for_trust(path, 4 * LARGEST_ROOT, "the trust root")
    return TrustRoot.parse(data) if signed else TrustRoot.parse_unsigned(data)


def _written(path: str, envelope: Envelope, given: argparse.Namespace, verb: str, *, new: bool = False) -> bool:
    from livepatch.bundle import disk

    (disk.create if new else disk.write)(path, envelope.to_bytes(), "the trust root")
    facts = _facts(path, _read(path, signed=False))
    if given.json:
        print_json(facts)
    else:
        print_lines([f"{verb} {in_line(path)}", *_told(facts)])
    return True


def _facts(path: str, root: TrustRoot) -> dict[str, Any]:
    from livepatch.bundle.signing import holders_of
    from livepatch.bundle.trustroot import TrustRoot

    try:
        TrustRoot.parse(root.envelope.to_bytes())
    except TrustError:
        signed = False
    else:
        signed = True
    return {
        "file": path,
        "digest": root.digest,
        "package": root.package,
        "channel": root.channel,
        "version": root.version,
        "expires": root.expires,
        "signed": signed,
        "keyids": list(holders_of(root.envelope, root.keys, root.keys)),
        "other_keyids": [each.keyid for each in root.envelope.signatures if each.keyid not in root.keys],
        "roles": {
            name: {
                "threshold": role.threshold,
                "keys": [{"keyid": keyid, "holder": root.keys[keyid].name} for keyid in role.keyids],
            }
            for name, role in root.roles.items()
        },
    }


def _told(facts: dict[str, Any]) -> Iterable[str]:
    yield f"trust root for {facts['package']}, channel {facts['channel']}, version {facts['version']}"
    yield f"  expires: {facts['expires']}"
    yield f"  digest:  {facts['digest']}"
    yield "  signed:  " + ("yes" if facts["signed"] else "not by as many of its own root keys as it asks for")
    for name, role in facts["roles"].items():
        yield f"  {name}: {role['threshold']} of"
        for key in role["keys"]:
            mark = ", has signed this trust root" if key["keyid"] in facts["keyids"] else ""
            yield f"    {key['holder']} {key['keyid']}{mark}"
    for keyid in facts["other_keyids"]:
        yield f"  there is a signature by another key, too: {spelled(keyid)}"


# Keys and roles


def _changed(
    keys: Any, roles: Any, given: argparse.Namespace, removed: Iterable[str]
) -> tuple[dict[str, Holder], dict[str, Role]]:
    from livepatch.bundle.keyfiles import read_public
    from livepatch.bundle.signing import Holder, Role

    held: dict[str, Holder] = dict(keys)
    members = {name: list(role.keyids) for name, role in roles.items()}
    thresholds = {name: role.threshold for name, role in roles.items()}
    for text in removed:
        role, keyid = _pair(text, "--remove", "ROLE=KEYID")
        if keyid not in members.get(role, []):
            raise PatchError(
                f"the role {role} has no such key",
                found=spelled(keyid),
                expected="an id that show prints",
                action="see livepatch trust show FILE for the ids",
            )
        members[role].remove(keyid)
    for text in given.add:
        role, place = _pair(text, "--add", _ROLE)
        named, colon, path = place.partition(":")
        path = path if colon else place
        key = read_public(path)
        name = named if colon else Path(path).name.removesuffix(".pub").removesuffix(".pem")
        held[key.id] = Holder(key, check_name("holder", name))
        members.setdefault(role, []).append(key.id)
    for text in given.threshold:
        role, number = _pair(text, "--threshold", "ROLE=N")
        if not number.isdecimal() or not number.isascii():
            raise PatchError(
                "--threshold is no number",
                found=spelled(text),
                expected="ROLE=N, such as root=2",
                action="give a number of holders",
            )
        thresholds[role] = int(number)
    made = {
        name: Role(tuple(dict.fromkeys(keyids)), thresholds.get(name, 1)) for name, keyids in members.items() if keyids
    }
    for role in thresholds:
        if role not in made:
            raise PatchError(
                "there is a threshold for a role without keys",
                found=role,
                expected="keys for the role",
                action="add a key to the role with --add, or leave the threshold out",
            )
    used = {keyid for role in made.values() for keyid in role.keyids}
    return {keyid: held[keyid] for keyid in held if keyid in used}, made


def _pair(text: str, option: str, expected: str) -> tuple[str, str]:
    from livepatch.bundle.trustroot import ROLES

    role, equals, value = text.partition("=")
    if role not in ROLES or not equals or not value:
        raise PatchError(
            f"{option} is not understood",
            found=spelled(text),
            expected=f"{expected}; roles are {', '.join(ROLES)}",
            action="correct the option",
        )
    return role, value
