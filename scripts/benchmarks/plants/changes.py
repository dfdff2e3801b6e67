"""What is done to a text so that it becomes a copy, junk or a leak: each a function of the text and
a random generator.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

Change = Callable[[str, np.random.Generator], str]
FOOTER = (
    "\nHome | About us | Contact | Terms of use\nShare this page on social media\n"
    "Copyright, all rights reserved. Subscribe to our newsletter."
)
LETTERS = list("asdfghjklqwertyuiopzxcvbnm")
MARKS = list("#$%&*+=<>@^~|/\\")


def exact(text: str, _: np.random.Generator) -> str:
    """Return the text as it is."""
    return text


def cased(text: str, _: np.random.Generator) -> str:
    """Return the text in lower case without the marks that end a word."""
    return re.sub(r"[.,;:!?]+(?=\s|$)", "", text).lower()


def refilled(text: str, words: list[str]) -> str:
    r"""Return the text with other words in the place of its own, its lines as they were.

    >>> refilled("a b\nc", ["d", "e", "f"])
    'd e\nf'
    """
    left = iter(words)
    return re.sub(r"\S+", lambda _: next(left), text)


def replaced(share: float, words: list[str]) -> Change:
    """Return the change that puts other words in the place of a share of them, at least one."""

    def change(text: str, rng: np.random.Generator) -> str:
        own = text.split()
        for at in rng.choice(len(own), max(1, round(share * len(own))), replace=False).tolist():
            own[at] = words[int(rng.integers(len(words)))]
        return refilled(text, own)

    return change


def framed(text: str, _: np.random.Generator) -> str:
    """Return the text with a site's menu and footer behind it."""
    return text + FOOTER


def cut(text: str, _: np.random.Generator) -> str:
    """Return the first three quarters of the words."""
    own = text.split()
    return " ".join(own[: max(1, 3 * len(own) // 4)])


def reordered(text: str, rng: np.random.Generator) -> str:
    """Return the sentences in another order."""
    own = re.split(r"(?<=[.!?])\s+", text)
    return " ".join(own[i] for i in rng.permutation(len(own)).tolist())


def renumbered(text: str, rng: np.random.Generator) -> str:
    """Return the text with other digits: a number of as many digits for each."""

    def other(match: re.Match[str]) -> str:
        digits = match.group()
        new = "".join(str(int(d)) for d in rng.integers(1, 10, len(digits)))
        return new if new != digits else str((int(digits) + 1) % 10 ** len(digits)).zfill(1)

    return re.sub(r"\d+", other, text)


def mashed(text: str, rng: np.random.Generator) -> str:
    """Return random letters in words of as many as the text's."""
    return refilled(text, ["".join(rng.choice(LETTERS, len(w))) for w in text.split()])


def shuffled(text: str, rng: np.random.Generator) -> str:
    """Return the words in random order, the lines as long as they were."""
    return refilled(text, rng.permutation(text.split()).tolist())


def repeated(text: str, _: np.random.Generator) -> str:
    """Return the first line's first twelve words until the text is as long as it was."""
    own = text.split()
    return "\n".join([" ".join(own[:12])] * max(6, len(own) // 12))


def symbols(text: str, rng: np.random.Generator) -> str:
    """Return signs in the place of three words of four."""
    own = text.split()
    for at in np.flatnonzero(rng.random(len(own)) < 0.75).tolist():
        own[at] = "".join(rng.choice(MARKS, 4))
    return refilled(text, own)


def script(text: str, rng: np.random.Generator) -> str:
    """Return a page of JavaScript around the words."""
    own = text.split()[:120]
    return "\n".join(
        f"function f{int(rng.integers(999))}() {{ var x = '{w}'; return x; }}" for w in own
    )


def menu(text: str, _: np.random.Generator) -> str:
    """Return the words as the entries of a menu, two a line."""
    own = text.split()[:200]
    return "\n".join(" ".join(own[i : i + 2]) for i in range(0, len(own), 2))


def stub(text: str, _: np.random.Generator) -> str:
    """Return the first ten words."""
    return " ".join(text.split()[:10])


def looped(text: str, _: np.random.Generator) -> str:
    """Return the text and its last five words fifteen times more."""
    own = text.split()
    return " ".join(own + own[-5:] * 15)


def inserted(part: str, text: str, rng: np.random.Generator) -> str:
    """Return `text` with `part` between two of its words.

    >>> inserted("x y", "a", np.random.default_rng(0)) in ("x y a", "a x y")
    True
    """
    own = text.split()
    at = int(rng.integers(len(own) + 1))
    return " ".join([*own[:at], part, *own[at:]])
