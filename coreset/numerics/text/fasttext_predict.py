"""The most probable label of a text by a fastText classifier of character n-grams and hierarchical
softmax, in fastText's own order of operations on floats: equal scores, bit by bit.

Joulin et al., "FastText.zip: Compressing text classification models", 2016 (arXiv:1612.03651). A
word gives its own row, if the vocabulary has it, and those of its n-grams of 2 to 4 characters,
"<" and ">" put around it; an n-gram's row is found by its FNV-1a hash modulo 2,000,000, and most of
these buckets are pruned. The mean of all rows goes down a binary tree of the labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coreset.numerics.compiled import exact
from coreset.numerics.text.characters import utf8

Bytes = NDArray[np.uint8]
Ids = NDArray[np.int32]
Whole = NDArray[np.int64]
Floats = NDArray[np.float32]
Codes = NDArray[np.uint32]

DIM, BUCKETS, LEAST, MOST = 16, 2_000_000, 2, 4  # columns of a row; hashes; characters of an n-gram
END, LABEL = b"</s>", b"__label__"
UNSEEN = 10**15  # the weight of a node of the tree before it has children
_LABEL = np.frombuffer(LABEL, np.uint8)
_OPEN, _CLOSE = np.uint32(ord("<")), np.uint32(ord(">"))
_SEED, _PRIME = np.uint32(2166136261), np.uint32(16777619)  # FNV-1a of 32 bits
_ONE, _HIGH, _INSIDE = np.uint64(1), np.uint32(0xC0), np.uint32(0x80)
_CUT = np.zeros(256, np.uint8)  # 1: a byte that parts words; 2: one that may begin white space
_CUT[[0, *range(9, 14), *range(28, 33)]] = 1
_CUT[[0xC2, 0xE1, 0xE2, 0xE3]] = 2


class Classifier(NamedTuple):
    """A model of `words` words, the first entries of the vocabulary, and L labels, the others.

    letters, first (entries + 1,): the bytes of all entries and where each begins; hashes
    (entries,): FNV-1a of each; slots (a power of 2,): open addressing by hash, -1 where free; gram
    (BUCKETS,): the row of an n-gram, -1 where pruned; rows (n, DIM); parts, begin (words + 1,): the
    rows of each word, itself first; left, right (2 L - 1,): children in the tree, -1 at the L
    leaves, which come first, the root last; output (L, DIM): weights of inner node L + i.
    """

    letters: Bytes
    first: Whole
    hashes: Codes
    slots: Ids
    gram: Ids
    rows: Floats
    parts: Ids
    begin: Whole
    left: Ids
    right: Ids
    output: Floats


@exact
def _fold(h: Any, code: Any) -> Any:
    return np.uint32((h ^ code) * _PRIME)


@exact
def _code(byte: Any) -> Any:
    """Return a byte as fastText hashes it: with its sign."""
    return np.uint32(np.int32(np.int8(byte)))


@exact
def _grams(word: Codes, size: Any, gram: Ids, out: Ids, count: int) -> int:
    """Append the rows of the n-grams of word[:size] to out[:count]; return the new count. Indices
    are unsigned, since a signed one is checked.
    """
    end = np.uint64(size)
    for at in range(size):
        i = np.uint64(at)
        if word[i] & _HIGH == _INSIDE:  # inside a character
            continue
        h, j = _SEED, i
        for n in range(1, MOST + 1):
            if j == end:
                break
            h = _fold(h, word[j])
            j += _ONE
            while j < end and word[j] & _HIGH == _INSIDE:
                h = _fold(h, word[j])
                j += _ONE
            if n >= LEAST:
                row = gram[np.uint64(h) % np.uint64(BUCKETS)]
                if row >= 0:
                    out[count] = row
                    count += 1
    return count


@exact
def _entry(
    data: Bytes, at: Any, size: Any, h: Any, letters: Bytes, first: Whole, hashes: Codes, slots: Ids
) -> int:
    """Return the slot of the entry data[at : at + size], or the free one where it belongs."""
    mask = np.uint64(len(slots) - 1)
    slot = np.uint64(h) & mask
    while slots[slot] >= 0:
        i = slots[slot]
        if hashes[i] == h and first[i + 1] - first[i] == size:
            k = 0
            while k < size and letters[first[i] + k] == data[at + np.uint64(k)]:
                k += 1
            if k == size:
                break
        slot = (slot + np.uint64(1)) & mask
    return int(slot)


@exact
def _gap(data: Bytes, i: Any) -> int:
    """Return of how many bytes the separator at data[i] is, 0 for none: what str.split cuts at, and
    the zero byte.
    """
    b = data[i]
    if _CUT[b] < 2:
        return 1 if _CUT[b] else 0
    c = data[i + _ONE]
    if b == 0xC2:
        return 2 if c == 0x85 or c == 0xA0 else 0
    d = data[i + _ONE + _ONE]
    if b == 0xE1:
        space = c == 0x9A and d == 0x80
    elif b == 0xE3:
        space = c == 0x80 and d == 0x80
    else:
        space = (c == 0x81 and d == 0x9F) or (
            c == 0x80 and (d <= 0x8A or d == 0xA8 or d == 0xA9 or d == 0xAF)
        )
    return 3 if space else 0


@exact
def _bag(
    data: Bytes,
    begins: int,
    ends: int,
    word: Codes,
    letters: Bytes,
    first: Whole,
    hashes: Codes,
    slots: Ids,
    gram: Ids,
    parts: Ids,
    begin: Whole,
    out: Ids,
) -> int:
    """Write the rows of all words of data[begins:ends] but the one for the end; return how many."""
    count = 0
    at, end = np.uint64(begins), np.uint64(ends)
    word[0] = _OPEN
    while at < end:
        start, h, gap = at, _SEED, 0
        while at < end:
            if _CUT[data[at]]:
                gap = _gap(data, at)
                if gap:
                    break
            code = _code(data[at])
            h = _fold(h, code)
            at += _ONE
            word[at - start] = code
        size = np.int64(at - start)
        at += np.uint64(gap)
        if size == 0:
            continue
        i = slots[_entry(data, start, size, h, letters, first, hashes, slots)]
        if i == 0:  # the end, spelt out
            break
        if i > 0:
            if i < len(begin) - 1:
                for k in range(begin[i], begin[i + 1]):
                    out[count] = parts[k]
                    count += 1
            continue
        k = 0
        while k < len(_LABEL) and k < size and data[start + np.uint64(k)] == _LABEL[k]:
            k += 1
        if k < len(_LABEL):
            word[size + 1] = _CLOSE
            count = _grams(word, size + 2, gram, out, count)
    return count


@exact
def _mean(rows: Floats, bag: Ids, count: int, out: Floats) -> None:
    """Write the mean of rows[bag[:count]] to `out` (DIM,)."""
    out[:] = 0
    for i in range(count):
        r = bag[i]
        for k in range(DIM):
            out[k] += rows[r, k]
    share = np.float32(1.0 / count)
    for k in range(DIM):
        out[k] *= share


@exact
def _log(x: Any) -> Any:
    return np.float32(math.log(np.float64(x) + 1e-5))


@exact
def _best(
    mean: Floats, left: Ids, right: Ids, output: Floats, stack: Ids, score: Floats
) -> tuple[int, Any]:
    """Return the label that scores highest by the tree, and the logarithm of its probability. Of
    equals the last. stack, score: room for as many nodes as the tree has.
    """
    label, best = -1, np.float32(-np.inf)
    labels = len(output)
    least = _log(np.float32(0))
    stack[0], score[0], count = len(left) - 1, np.float32(0), 1
    while count:
        count -= 1
        node, s = stack[count], score[count]
        if s < least or s < best:
            continue
        if left[node] < 0:
            label, best = node, s
            continue
        f = np.float32(0)
        for k in range(DIM):
            f += output[node - labels, k] * mean[k]
        f = np.float32(1.0 / np.float64(np.float32(1) + math.exp(-f)))
        stack[count], score[count] = right[node], s + _log(f)
        count += 1
        stack[count], score[count] = left[node], s + _log(np.float32(1.0 - np.float64(f)))
        count += 1
    return label, best


@exact
def _predict(
    data: Bytes,
    start: Whole,
    letters: Bytes,
    first: Whole,
    hashes: Codes,
    slots: Ids,
    gram: Ids,
    rows: Floats,
    parts: Ids,
    begin: Whole,
    left: Ids,
    right: Ids,
    output: Floats,
    label: Ids,
    probability: Floats,
) -> None:
    longest = 0
    for i in range(len(start) - 1):
        longest = max(longest, start[i + 1] - start[i])
    # of a word of n bytes and its separator 1 + 3 (n + 2) rows at most
    bag, word = np.empty(7 * longest + 8, np.int32), np.empty(longest + 2, np.uint32)
    stack, score = np.empty(len(left), np.int32), np.empty(len(left), np.float32)
    mean = np.empty(DIM, np.float32)
    for i in range(len(start) - 1):
        count = _bag(
            data,
            start[i],
            start[i + 1],
            word,
            letters,
            first,
            hashes,
            slots,
            gram,
            parts,
            begin,
            bag,
        )
        bag[count] = 0
        _mean(rows, bag, count + 1, mean)
        label[i], log = _best(mean, left, right, output, stack, score)
        probability[i] = math.exp(log)


@exact
def _fill(
    letters: Bytes,
    first: Whole,
    hashes: Codes,
    slots: Ids,
    gram: Ids,
    parts: Ids,
    begin: Whole,
) -> int:
    """Fill hashes, slots and the parts of every word; return an entry that is there twice, or -1.

    parts: room for 1 + 3 (n + 2) rows of every word of n bytes.
    """
    word = np.empty(len(letters) + 2, np.uint32)
    count = 0
    for i in range(len(hashes)):
        h = _SEED
        size = first[i + 1] - first[i]
        word[0], word[size + 1] = _OPEN, _CLOSE
        for k in range(size):
            code = _code(letters[first[i] + k])
            h = _fold(h, code)
            word[k + 1] = code
        hashes[i] = h
        slot = _entry(letters, np.uint64(first[i]), size, h, letters, first, hashes, slots)
        if slots[slot] >= 0:
            return i
        slots[slot] = i
        if i < len(begin) - 1:
            parts[count] = i
            count += 1
            if i > 0:
                count = _grams(word, size + 2, gram, parts, count)
            begin[i + 1] = count
    return -1


def classifier(
    entries: Sequence[bytes], counts: Whole, gram: Ids, rows: Floats, output: Floats
) -> Classifier:
    """Return the model of a vocabulary: words, "</s>" first, then as many labels as `output` (L,
    DIM) has rows.

    counts (L,): how often each label occurred, falling: the Huffman tree; gram (BUCKETS,): the row
    in `rows` (n, DIM) of an n-gram, -1 for none. Raises ValueError where an entry is there twice.
    """
    letters = np.frombuffer(b"".join(entries), np.uint8)
    first = np.zeros(len(entries) + 1, np.int64)
    np.cumsum([len(e) for e in entries], out=first[1:])
    words = len(entries) - len(output)
    hashes = np.zeros(len(entries), np.uint32)
    slots = np.full(1 << (2 * len(entries)).bit_length(), -1, np.int32)
    parts, begin = np.empty(7 * words + 3 * len(letters), np.int32), np.zeros(words + 1, np.int64)
    twice = _fill(letters, first, hashes, slots, gram, parts, begin)
    if twice >= 0:
        raise ValueError(f"entry {entries[twice]!r} is there twice")
    left, right = _tree(counts)
    parts = parts[: begin[-1]].copy()
    return Classifier(letters, first, hashes, slots, gram, rows, parts, begin, left, right, output)


def _tree(counts: Whole) -> tuple[Ids, Ids]:
    """Return the children of fastText's Huffman tree over counts that fall; -1 at the leaves.

    >>> left, right = _tree(np.array([5, 2, 1]))
    >>> left.tolist(), right.tolist()
    ([-1, -1, -1, 2, 3], [-1, -1, -1, 1, 0])
    """
    labels = len(counts)
    weight = [*counts.tolist(), *[UNSEEN] * (labels - 1)]
    left, right = np.full((2, 2 * labels - 1), -1, np.int32)
    leaf, inner = labels - 1, labels
    for node in range(labels, 2 * labels - 1):
        pair = []
        for _ in range(2):  # the lighter of the next leaf and the next inner node
            if leaf >= 0 and weight[leaf] < weight[inner]:
                pair.append(leaf)
                leaf -= 1
            else:
                pair.append(inner)
                inner += 1
        left[node], right[node] = pair
        weight[node] = weight[pair[0]] + weight[pair[1]]
    return left, right


def predict(model: Classifier, texts: Sequence[str]) -> tuple[Ids, Floats]:
    """Return the most probable label (n,) of each text, read as one line, and its probability (n,),
    which rounding lifts a little above 1 at times. An empty text has the label of none.
    """
    data, start, _ = utf8(list(texts))
    data.flags.writeable = False  # one type of argument, one compilation
    label, probability = np.empty(len(texts), np.int32), np.empty(len(texts), np.float32)
    _predict(data, start, *model, label, probability)
    return label, probability
