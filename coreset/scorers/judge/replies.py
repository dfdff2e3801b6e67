"""How a judge's reply is read: strictly, so that a reply which is no score is an error and never a
number.

What is asked for is a line with the number alone. Read is what can only be that number: in bold or
in brackets, after `Score:`, with the scale behind it, with a remark in parentheses that has no
number.
"""

from __future__ import annotations

import re

_MARKS = re.compile(r"[\s*_`#>\"'“”‘’\[\]{}|]+")  # each run of them is one space
_LABEL = r"(?:(?:the|my|overall|final|accuracy|quality|total) )*(?:score|rating|accuracy|grade)"
_WHOLE = r"\d+(?:\.0+)?"
_SCALE = rf"\((?:(?P<from>{_WHOLE}) ?(?:-|–|to) ?(?P<upto>{_WHOLE})|out of (?P<most>{_WHOLE}))\)"
_HEAD = re.compile(rf"{_LABEL}(?: ?{_SCALE})?(?: ?[:=]| is)?", re.IGNORECASE)
_NUMBER = re.compile(
    rf"(?:{_HEAD.pattern} ?)?\(?(?P<value>\d+(?:\.\d+)?)\)?"
    rf"(?: ?\(?(?:/|out of|of) ?(?P<high>{_WHOLE})\)?)?(?: ?(?:points?|stars?))?(?: ?[.:!])?",
    re.IGNORECASE,
)
_REMARK = re.compile(r" ?\(([^()]*)\) ?[.]?$")
_WORDS = re.compile(
    r"\d|\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|half|quarter|hundred|percent|minus|not|or)\b|%",
    re.IGNORECASE,
)


def read_score(reply: str, low: float, high: float) -> float | None:
    """Return the score in [low, high] that a reply gives, or None where it gives none that is
    beyond doubt.

    Read is the first line with a letter or digit, together with the next where it is a label alone
    ("Score:"). It has to be one number: perhaps in marks of emphasis or brackets, after a label,
    before `/ high` or `out of high`, before a remark in parentheses that speaks of no number. A
    number outside the scale, of another scale, with a sign, or one of two is no score.

    >>> [
    ...     read_score(t, 0, 5)
    ...     for t in ("**4.5**", "4.5 (helpful)", "Rating: 4.0 out of 5", "Rating: 4.5/5.0")
    ... ]
    [4.5, 4.5, 4.0, 4.5]
    >>> [
    ...     read_score(t, 0, 5)
    ...     for t in ("Score: -1", "4.5 (or 4)", "4/10", "90%", "4, maybe 5", "I would say 4")
    ... ]
    [None, None, None, None, None, None]
    """
    spaced = (_MARKS.sub(" ", line).strip() for line in reply.splitlines())
    lines = [line for line in spaced if any(c.isalnum() for c in line)]
    if not lines:
        return None
    line = lines[0]
    if len(lines) > 1 and _HEAD.fullmatch(line):
        line = f"{line} {lines[1]}"
    remark = _REMARK.search(line)
    whole = _NUMBER.fullmatch(line)
    if whole is None and remark and not _WORDS.search(remark[1]):
        whole = _NUMBER.fullmatch(line[: remark.start()])
    if whole is None:
        return None
    if any(
        part is not None and float(part) != high for part in whole.group("high", "upto", "most")
    ):
        return None
    if whole["from"] is not None and float(whole["from"]) != low:
        return None
    value = float(whole["value"])
    return value if low <= value <= high else None


def read_by(pattern: str, reply: str, low: float, high: float) -> float | None:
    r"""Return the score in [low, high] that the one group of a regular expression finds in a reply,
    or None.

    Every match has to give the same number. Raises nothing for a group that is no number: it is
    None.

    >>> read_by(r"(?i)give it (?:a )?(\d)", "I would give it a 4, and 4 it is.", 0, 5)
    4.0
    """
    parts = {match[1] for match in re.finditer(pattern, reply)}
    try:
        values = {float(part) for part in parts}
    except (TypeError, ValueError):
        return None
    value = values.pop() if len(values) == 1 else None
    return value if value is not None and low <= value <= high else None
