"""The words by which DataComp's text-based filter knows a caption: those whose first sense in
WordNet is a class of ImageNet.

Gadre et al., "DataComp", NeurIPS 2023 (arXiv:2304.14108). Its code asks WordNet about each word of
a caption; asked beforehand about every word, the answer is a vocabulary for
`coreset.scorers.text.entries.Entries` (variant "words"), with one difference: the code takes "dog,"
for a word that WordNet does not know. WordNet: Miller, "WordNet: A Lexical Database for English",
1995; version 3.0, whose numbers ImageNet uses, is the Debian package wordnet-base.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

FOLDER = "/usr/share/wordnet"
# how WordNet's morphology takes endings of nouns off, in its order
ENDINGS = (
    ("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"),
    ("shes", "sh"), ("men", "man"), ("ies", "y"),
)  # fmt: skip


def first_sense_words(synsets: Collection[str], wordnet: str | Path = FOLDER) -> list[str]:
    """Return the single words, sorted, whose first sense as a noun is one of `synsets`
    ("n02084071"), with the plurals that WordNet reads as such a word.

    wordnet: a folder with index.noun and noun.exc. Raises FileNotFoundError, with the package to
    install, when they are not there.
    """
    folder = Path(wordnet)
    for name in ("index.noun", "noun.exc"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"wordnet: there is no {folder / name}; apt-get install wordnet-base"
            )
    sense = dict(_first_senses(folder / "index.noun"))
    irregular: dict[str, list[str]] = {}
    for line in (folder / "noun.exc").read_text("utf-8").splitlines():
        form, *bases = line.split()
        irregular[form] = [*irregular.get(form, []), *bases]

    def of(form: str) -> str | None:
        bases = irregular.get(form) or [
            form[: len(form) - len(a)] + b for a, b in ENDINGS if form.endswith(a)
        ]
        return next((sense[w] for w in (form, *bases) if w in sense), None)

    wanted = set(synsets)
    regular = (
        w[: len(w) - len(b)] + a
        for w, s in sense.items()
        if s in wanted
        for a, b in ENDINGS
        if w.endswith(b)
    )
    forms = {*sense, *irregular, *regular}
    return sorted(f for f in forms if "_" not in f and of(f) in wanted)


def _first_senses(index: Path) -> Iterator[tuple[str, str]]:
    """Yield every noun with its first synset, as ImageNet writes it."""
    with index.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith(" "):  # the license is indented
                word, _, _, pointers, *rest = line.split()
                yield word, f"n{rest[int(pointers) + 2]}"


def imagenet_words(wordnet: str | Path = FOLDER) -> list[str]:
    """Return `first_sense_words` of the 21,843 synsets of ImageNet, as timm lists them."""
    from timm.data import ImageNetInfo

    return first_sense_words(ImageNetInfo("imagenet21k").label_names(), wordnet)
