"""RefinedWeb's rule for a page that was mostly menus. Penedo et al., 2023, appendix G.2
(arXiv:2306.01116).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from coreset.curation.operators.rules.limits import Limit, Limits


@dataclass(frozen=True)
class BoilerplateFilter(Limits):
    r"""Drop pages that lose more than `max_words` of their words as boilerplate lines; reads the
    columns of `coreset.scorers.text.boilerplate.Boilerplate`.

    >>> from coreset.core.batch import as_batch
    >>> from coreset.scorers.text.boilerplate import Boilerplate
    >>> BoilerplateFilter().decide(
    ...     as_batch(Boilerplate()({"text": ["3 likes\nA line of text."]}))
    ... ).reason.tolist()
    ['words in boilerplate lines above 0.05']
    """

    status_column = "boilerplate_status"

    max_words: float | None = 0.05

    def limits(self) -> Iterator[Limit]:
        """Yield the limit."""
        yield Limit(
            "boilerplate_words",
            f"words in boilerplate lines above {self.max_words}",
            high=self.max_words,
        )
