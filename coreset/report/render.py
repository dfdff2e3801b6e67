"""The templates of every page: plain values go in, HTML comes out."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from coreset.report.words import plain, text

if TYPE_CHECKING:
    from jinja2 import Environment


def _shown(value: Any) -> Any:
    return plain(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


@cache
def _templates() -> Environment:
    """Return the templates of `coreset/report/templates`: every value is escaped unless it is
    Markup, and one that is missing is an error.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("coreset.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["text"] = text
    return environment


def render(template: str, **values: Any) -> Markup:
    """Return a template of `coreset/report/templates` with these values in it. HTML, such as an SVG
    figure, is passed as Markup; all else is text.

    >>> "<b>" in render("header.html", kicker="", claim="<b> of 7 %", lines=["&"])
    False
    """
    return Markup(_templates().get_template(template).render(**values))
