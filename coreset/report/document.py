"""One HTML page out of its parts: what may act on it is fixed beforehand, and no character of a row
can change how the rest is read.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

# control characters but tab and line ends, what is no character, halves of surrogate pairs, and
# those that turn the direction of what follows (Unicode's Trojan Source)
_ACTING = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\ufeff\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]"
)
NONE = "'none'"
INSTEAD = "\ufffd"


def plain(words: str) -> str:
    r"""Return words with a mark in the place of every character that is not shown but acts.

    >>> plain("a\x00b\u202ec") == "a\ufffdb\ufffdc", plain("a\tb\nc")
    (True, 'a\tb\nc')
    """
    return _ACTING.sub(INSTEAD, words)


def policy(styles: Sequence[str], scripts: Sequence[str] = ()) -> str:
    """Return the Content-Security-Policy of a page with these style sheets in its head and these
    scripts at its end: no other script, no frame, no form, nothing from elsewhere; images that lie
    in it.

    Attributes `style` are the page's own: a color, a width. W3C, "Content Security Policy Level 3".

    >>> policy(["a{}"])[:20]
    "default-src 'none'; "
    """
    hashes, acting = (
        " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'"
                 for s in group)
        for group in (styles, scripts)
    )  # fmt: skip
    return (
        f"default-src 'none'; script-src {acting or NONE}; img-src data:; style-src {hashes}; "
        "style-src-attr 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    )


@cache
def templates() -> Environment:
    """Return the templates of `coreset/report/templates`: every value is escaped unless it is
    Markup, and one that is missing is an error.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("coreset.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def document(title: str, css: str, body: str, scripts: Sequence[str] = ()) -> str:
    """Return a page as HTML. title: as text that is safe for HTML; css: its style sheet; body:
    HTML, every text of a row escaped in it; scripts: of this package, run at its end, and no other
    may.
    """
    from markupsafe import Markup

    css = plain(css)
    return (
        templates()
        .get_template("document.html")
        .render(
            policy=Markup(policy([css], scripts)),  # as written: quotes in it are single
            title=Markup(plain(title)),
            css=Markup(css),
            body=Markup(plain(body)),
            scripts=[Markup(script) for script in scripts],
        )
    )
