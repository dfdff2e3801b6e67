"""CCNet's normal form of a line: what its language models were trained on.

Wenzek et al., "CCNet: Extracting High Quality Monolingual Datasets from Web Crawl Data", LREC
2020 (arXiv:1911.00359). Two slips of the released program are not repeated: its table of
punctuation turns the digit one of full width into a quotation mark (which the step before hides,
as long as digits become 0), and its test for a line without accents compares a number with a
text.
"""

from __future__ import annotations

import re
import unicodedata

_FANCY = "，。、„”“«»」「《》´∶：？！（）；–～’━〈〉【】％►"
_PLAIN = dict(zip(_FANCY, ",.," + '"' * 9 + "'::?!();-~'-<>[]%-", strict=True))
_PUNCTUATION = str.maketrans(_PLAIN | {"—": " - ", "．": ". ", "…": "..."})
_CONTROL = dict.fromkeys([*range(32), *range(127, 160)])
_DIGIT = re.compile(r"\d")


def ccnet_line(
    line: str,
    lower: bool = True,
    accents: bool = True,
    digits: bool = True,
    punctuation: bool = True,
) -> str:
    r"""Return a line as CCNet's models read it.

    Stripped, lower case, no accents, every digit 0, plain punctuation, no control characters (a
    tab is one). lower, accents, digits, punctuation: leave a step out by False.

    >>> ccnet_line(" „Élan“ 1987…\t ")
    '"elan" 0000...'
    """
    line = line.strip()
    if lower:
        line = line.lower()
    if accents:
        split = unicodedata.normalize("NFD", line)
        line = "".join(c for c in split if unicodedata.category(c) != "Mn")
    if digits:
        line = _DIGIT.sub("0", line)
    if punctuation:
        line = line.translate(_PUNCTUATION)
    return line.translate(_CONTROL)
