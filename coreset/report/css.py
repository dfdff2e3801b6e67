"""The style sheet of a page: the colors of the theme, then files of `static/`."""

from __future__ import annotations

from coreset.report.document import static
from coreset.report.theme import FONT, variables


def css(*names: str) -> str:
    """Return the style sheets of these names, in order, below the colors on light and dark paper.

    >>> css("base").startswith(":root{color-scheme:light dark;--paper:#fff;")
    True
    """
    light = f"--paper:#fff;--sunk:#f6f7f9;--font:{FONT};{variables()}"
    dark = f"--paper:#15171b;--sunk:#1d2025;{variables(True)}"
    root = f":root{{color-scheme:light dark;{light}}}\n"
    root += f"@media(prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
    return root + "".join(static(f"{name}.css") for name in names)
