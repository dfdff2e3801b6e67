"""C4's rules for a page. Raffel et al., JMLR 2020, section 2.2 (arXiv:1910.10683)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from coreset.curation.operators.rules.limits import Limit, Limits


@dataclass(frozen=True)
class C4Filter(Limits):
    """Keep pages of at least `min_sentences` sentences after C4's cleaning, without lorem ipsum or
    a curly bracket; reads the columns of `coreset.scorers.text.c4.C4`.

    >>> from coreset.core.batch import as_batch
    >>> from coreset.scorers.text.c4 import C4
    >>> C4Filter().decide(
    ...     as_batch(C4()({"text": ["One two three. Four! Five six { seven."]}))
    ... ).reason.tolist()
    ['fewer than 5 sentences; curly bracket']
    """

    status_column = "c4_status"

    min_sentences: int | None = 5
    lorem_ipsum: bool = True
    curly_bracket: bool = True

    def limits(self) -> Iterator[Limit]:
        """Yield the limits."""
        yield Limit(
            "c4_sentences", f"fewer than {self.min_sentences} sentences", low=self.min_sentences
        )
        if self.lorem_ipsum:
            yield Limit("c4_lorem_ipsum", "lorem ipsum", high=0)
        if self.curly_bracket:
            yield Limit("c4_bracket", "curly bracket", high=0)
