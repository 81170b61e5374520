"""How grave a flaw is: a CVSS vector, computed by the ``cvss`` library (extra ``cvss``), and what else it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from livepatch.errors import PolicyError, spelled

__all__ = ["EXPLOITABILITY", "EXPOSURE", "Severity", "plain_of", "severity_of"]

EXPLOITABILITY = ("none", "proof-of-concept", "active")
"""What is known of attacks: none, code that shows how, or attacks that happen."""
EXPOSURE = ("physical", "local", "adjacent", "network")
"""From where an attack comes."""

_LONGEST = 400  # characters of a vector
# By version 2, 3 and 4: the exploit code maturity of a vector (E), and the access or attack vector (AV).
_MATURITY = {
    "U": "none",
    "POC": "proof-of-concept",
    "P": "proof-of-concept",
    "F": "active",
    "H": "active",
    "A": "active",
}
_VECTOR = {"P": "physical", "L": "local", "A": "adjacent", "N": "network"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Severity:
    """What a vector says.  `score` is from 0 to 10, `rating` ``none`` to ``critical``; what it leaves open is empty.

    The score is that of the whole vector: the environmental one, if it has environmental or temporal metrics.
    """

    vector: str
    score: float
    rating: str
    exploitability: str = ""
    exposure: str = ""


def severity_of(vector: str) -> Severity:
    """Read a CVSS vector of version 2, 3.0, 3.1 or 4.0.

    Sources: the specifications at https://www.first.org/cvss/, as Red Hat's ``cvss`` computes them.
    Raises :class:`TypeError` if it is no text, and :class:`PolicyError` if it is no vector or the extra is missing.
    """
    if not isinstance(vector, str):
        raise TypeError(f"cvss must be a str such as 'CVSS:3.1/AV:N/AC:L/…', not {spelled(vector)}")
    read = _read(vector)
    scores, ratings = read.scores(), read.severities()
    last = max(index for index, score in enumerate(scores) if score is not None)
    metrics = dict(part.split(":", 1) for part in read.clean_vector().split("/") if not part.startswith("CVSS:"))
    return Severity(
        vector=read.clean_vector(),
        score=float(scores[last]),
        rating=str(ratings[last]).lower(),
        exploitability=_MATURITY.get(metrics.get("E", ""), ""),
        exposure=_VECTOR.get(metrics["AV"], ""),
    )


def plain_of(vector: str) -> dict[str, Any]:
    """All that a vector says, as the JSON of the CVSS specifications.  Raises as :func:`severity_of` does."""
    made: dict[str, Any] = _read(vector).as_json(minimal=True)
    return made


def _read(vector: str) -> Any:
    library = _library()
    version = {"CVSS:3": library.CVSS3, "CVSS:4": library.CVSS4}.get(vector[:6], library.CVSS2)
    try:
        if len(vector) > _LONGEST:
            raise ValueError(f"{len(vector)} characters")
        read = version(vector)
    except (library.CVSSError, ValueError) as error:
        raise PolicyError(
            "cvss is no vector",
            found=f"{spelled(vector)}: {error}"[:300],
            expected="a CVSS vector of version 2, 3.0, 3.1 or 4.0, such as CVSS:3.1/AV:N/AC:L/PR:N/…",
            action="copy it from the advisory whole",
        ) from error
    return read


def _library() -> Any:
    try:
        import cvss
    except ImportError as error:
        raise PolicyError(
            "a CVSS vector cannot be computed here",
            found=f"no cvss library ({error})",
            expected="the extra cvss",
            action="pip install 'livepatch[cvss]', or leave the vector out and declare the rest",
        ) from error
    return cvss
