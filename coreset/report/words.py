"""Words and numbers as the report writes them: safe text, per cent, shares, counts, seconds."""

from __future__ import annotations

import hashlib
import math
import re

from markupsafe import Markup, escape

# control characters but tab and line ends, what is no character, halves of surrogate pairs, and
# those that turn the direction of what follows (Unicode's Trojan Source)
_ACTING = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\ufeff\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]"
)
_INSTEAD = "\ufffd"
_LONGEST = 100  # characters of a part of a file name


def plain(words: str) -> str:
    r"""Return words with a mark in the place of every character that is not shown but acts.

    >>> plain("a\x00b\u202ec") == "a\ufffdb\ufffdc", plain("a\tb\nc")
    (True, 'a\tb\nc')
    """
    return _ACTING.sub(_INSTEAD, words)


def text(words: object) -> Markup:
    r"""Return any text safe for HTML; numbers stay on one line with their signs. Templates have it
    as the filter `text`.

    >>> text("<cat> & 7 %") == "&lt;cat&gt; &amp; 7\u00a0%"
    True
    """
    tied = plain(str(words))
    for mark in (" %", " ± ", " = ", " < "):
        tied = tied.replace(mark, mark.replace(" ", "\u00a0"))
    return escape(tied)


def percent(value: float, digits: int = 1) -> str:
    """Return a value in [0, 1] as per cent.

    >>> percent(0.9951)
    '99.5 %'
    """
    return f"{100 * value:.{digits}f} %"


def share(value: float) -> str:
    """Return a share of the pool as per cent, two significant digits below ten.

    >>> share(0.131), share(0.0671), share(0.07), share(0.00123)
    ('13 %', '6.7 %', '7 %', '0.12 %')
    """
    p = 100 * value
    if p <= 0 or p >= 9.95:
        return f"{p:.0f} %"
    digits = max(0, 1 - math.floor(math.log10(p)))
    text = f"{p:.{digits}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + " %"


def count(value: float) -> str:
    r"""Return a whole number with narrow spaces between thousands.

    >>> count(1797.4) == "1\u202f797"
    True
    """
    return f"{round(value):,}".replace(",", "\u202f")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "seed"), counted(5, "seed"), counted(2, "strategy")
    ('1 seed', '5 seeds', '2 strategies')
    """
    plural = noun if number == 1 else noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{count(number)} {plural}"


def duration(seconds: float | None) -> str:
    """Return seconds in the unit that reads best; a dash for None.

    >>> duration(0.0042), duration(3.21), duration(75), duration(7325), duration(None)
    ('4 ms', '3.2 s', '1 min 15 s', '2 h 2 min', '–')
    """
    if seconds is None:
        return "–"
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def p_value(p: float | None) -> str:
    """Return a p value; a dash for None.

    >>> p_value(0.0004), p_value(0.0312), p_value(0.7), p_value(None)
    ('< 0.001', '0.031', '0.70', '–')
    """
    if p is None:
        return "–"
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def points(value: float | None) -> str:
    """Return a difference of two values in [0, 1] in points, with its sign; a dash for None.

    >>> points(0.0213), points(-0.004), points(None)
    ('+2.1', '−0.4', '–')
    """
    return "–" if value is None else f"{100 * value:+.1f}".replace("-", "−")


def file_stem(name: str) -> str:
    """Return a name as a part of a file name that any file system takes, at most 100 characters: of
    a longer one the beginning and a hash.

    >>> file_stem("uherding (sigma 0.5)")
    'uherding_sigma_0.5'
    >>> len(file_stem("auto" * 100))
    100
    """
    stem = re.sub(r"[^A-Za-z0-9_.=-]+", "_", name).strip("_")
    if len(stem) <= _LONGEST:
        return stem
    return f"{stem[: _LONGEST - 13]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
