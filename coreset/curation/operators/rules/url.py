"""Drop pages by their address: listed domains, and words in the address.

The scheme of RefinedWeb (Penedo et al., 2023, appendix G.1, arXiv:2306.01116). The lists are the
user's: none are shipped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

import numpy as np

from coreset.core.batch import Batch
from coreset.curation.operators.base import Decision, Filter


def host(url: str) -> str:
    """Return the host of an address in lower case, without a port or a last dot; "" where there is
    none.

    >>> host("https://News.Example.org:8080/a"), host("example.org/a"), host("not a url")
    ('news.example.org', 'example.org', '')
    """
    try:
        name = urlsplit(url if "//" in url.partition("?")[0] else f"//{url}").hostname or ""
    except ValueError:
        return ""
    return "" if any(c.isspace() for c in name) else name.rstrip(".")


@lru_cache(64)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(sorted(map(re.escape, words), key=len, reverse=True)))


@dataclass(frozen=True)
class UrlFilter(Filter):
    """Drop rows whose `column` lies under a listed domain or holds listed words.

    domains: hosts, and all hosts below them ("example.org" holds "a.example.org", not
    "myexample.org"). words: any one as a whole word of the address drops it; parts: any one
    anywhere; soft_words: `soft` different ones together. Words are runs of letters and digits, in
    any case.

    >>> from coreset.core.batch import as_batch
    >>> rule = UrlFilter(domains=("spam.org",), words=("casino",))
    >>> rule.decide(
    ...     as_batch(
    ...         {"url": ["http://a.spam.org/x", "http://b.org/casino-fun", "http://nospam.org/"]}
    ...     )
    ... ).reason.tolist()
    ['listed domain', 'listed word in the address', '']
    """

    column: str = "url"
    domains: Sequence[str] = ()
    words: Sequence[str] = ()
    parts: Sequence[str] = ()
    soft_words: Sequence[str] = ()
    soft: int = 2

    @property
    def needs(self) -> frozenset[str]:
        """Return the column that is read."""
        return frozenset({self.column})

    def _reason(
        self, url: str | None, domains: frozenset[str], words: frozenset[str], soft: frozenset[str]
    ) -> str:
        if not url:
            return f"{self.column}: missing_field"
        where = host(url)
        if not where:
            return f"{self.column}: parse_error"
        reasons = []
        labels = where.split(".")
        if any(".".join(labels[i:]) in domains for i in range(len(labels))):
            reasons.append("listed domain")
        tokens = set(re.findall(r"[^\W_]+", url.lower()))
        if tokens & words or (
            self.parts and _pattern(tuple(p.lower() for p in self.parts)).search(url.lower())
        ):
            reasons.append("listed word in the address")
        if len(tokens & soft) >= self.soft:
            reasons.append(f"{self.soft} suspicious words in the address")
        return "; ".join(reasons)

    def decide(self, batch: Batch) -> Decision:
        """Return the decision."""
        domains, words, soft = (
            frozenset(w.lower() for w in x) for x in (self.domains, self.words, self.soft_words)
        )
        reason = np.array(
            [self._reason(u, domains, words, soft) for u in batch[self.column]], object
        )
        return Decision(np.asarray(reason == "", bool), reason)
