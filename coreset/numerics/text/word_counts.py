"""How many words a text has, in any script: by white space, and by its letters where a script has
no spaces.

UAX #29, "Unicode Text Segmentation", cuts Han and Hiragana at every character for want of a
dictionary, and so does what counts words in most programs. Thai, Lao, Tibetan, Myanmar and Khmer
have alphabets: a word of Thai has about four letters, and marks above and below them, which do not
count.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coreset.core.pool import Array
from coreset.numerics.compiled import compiled
from coreset.numerics.text.characters import ALONE, ALPHA, DIGIT, SPACE, WORD, characters, tables
from coreset.numerics.text.tokenize import Flags, Points, Whole

# scripts without spaces whose words have several letters
ALPHABETS = ((0xE00, 0x17FF), (0xA9E0, 0xAA7F))
LETTERS = 4  # of such a word


@compiled
def _count(p: Points, begin: Whole, flags: Flags, low: Whole, high: Whole, out: Whole) -> None:
    for row in range(len(begin) - 1):
        total, letters, mixed, inside, run = 0, 0, False, False, False
        for i in range(begin[row], begin[row + 1] + 1):
            end = i == begin[row + 1]
            f = np.uint8(SPACE) if end else flags[p[i]]
            alone = f & ALONE
            if not alone:
                total += (letters + LETTERS - 1) // LETTERS
                letters = 0
            if f & SPACE:
                total += run or (inside and not mixed)
                mixed = inside = run = False
            elif alone:
                total += run
                mixed, inside, run = True, True, False
                if f & (ALPHA | DIGIT):
                    c = p[i]
                    several = (low[0] <= c <= high[0]) or (low[1] <= c <= high[1])
                    letters += 1 if several else LETTERS
            else:
                inside = True
                run = bool(run or (f & WORD) > 0)
        out[row] = total


def word_counts(texts: Array | pa.Array) -> tuple[Whole, NDArray[np.bool_]]:
    """Return how many words every text has (n,), and which texts are missing (n,).

    A word is what stands between white space. In a piece that holds characters of a script without
    spaces, each of these is a word (in Thai, Lao, Tibetan, Myanmar and Khmer every four letters,
    and marks none), and so is each run of other letters and digits between them; signs are none.

    >>> word_counts(["It's 3.5 km.", "今天天气很好。", "GPT模型 v2", "สวัสดี", "", None])[0].tolist()
    [3, 6, 4, 1, 0, 0]
    """
    points, begin, missing = characters(texts)
    out = np.empty(len(begin) - 1, np.int64)
    low, high = (np.array(side, np.int64) for side in zip(*ALPHABETS, strict=True))
    _count(points, begin, tables()[0], low, high, out)
    return out, missing
