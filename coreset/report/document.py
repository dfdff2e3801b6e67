"""One HTML page out of its parts: what may act on it is fixed beforehand, and no character of a row
can change how the rest is read.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from markupsafe import Markup

from coreset.report.render import render
from coreset.report.words import plain

NONE = "'none'"


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
def static(name: str) -> str:
    """Return a style sheet or a script of `coreset/report/static`. Raises ValueError where it would
    end its own element.
    """
    content = (files("coreset.report") / "static" / name).read_text(encoding="utf-8")
    if re.search("</(script|style)", content, re.IGNORECASE):
        raise ValueError(f"{name}: ends its own element")
    return content


def document(title: str, css: str, body: Markup, scripts: Sequence[str] = ()) -> Markup:
    """Return a page as HTML. css: its style sheet; body: its sections;
    scripts: of this package, run at its end, and no other may.
    """
    css = plain(css)
    return render(
        "document.html",
        policy=Markup(policy([css], scripts)),  # as written: quotes in it are single
        title=title,
        css=Markup(css),
        body=Markup(plain(body)),
        scripts=[Markup(script) for script in scripts],
    )
