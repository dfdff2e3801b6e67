"""DataComp's filters: the shipped recipes against decisions worked out plainly from the rows."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from coreset.cli.curate import make_operators
from coreset.curation import curate
from coreset.scorers.image_text import clip
from coreset.scorers.text.language import identifier
from coreset.scorers.text.wordnet import FOLDER, first_sense_words, imagenet_words

CONF = Path(__file__).parents[3] / "conf"
CAPTIONS = [
    "a dog runs over the green grass", "two words", "A of it", "a b c", "Der Zug nach Berlin kommt heute viel zu spät an", "the old house on the hill in the evening",
    "words", "", "les enfants jouent dans le jardin de la maison", "three small birds", "a photograph of my dogs, both asleep", "abcde", "we met at the station",
]  # fmt: skip
SIZES = [(200, 200), (199, 300), (300, 199), (600, 200), (601, 200), (200, 601), (400, 300)]


def operators(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return make_operators(
            OmegaConf.to_container(
                compose("curate", ["input=x", "out=x", *overrides]), resolve=True
            )
        )


def english(text):
    return any(c.isalpha() for c in text) and identifier().classify(text)[0] == "en"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Every caption with every size, about each limit; one image that is none."""
    folder = tmp_path_factory.mktemp("pairs")
    rng, rows = np.random.default_rng(0), []
    for i, (caption, size) in enumerate((c, s) for c in CAPTIONS for s in SIZES):
        Image.fromarray(rng.integers(0, 256, 3).astype(np.uint8)[None, None]).resize(size).save(
            folder / f"{i:03d}.png"
        )
        rows.append({"id": f"{i:03d}", "image": f"{i:03d}.png", "caption": caption})
    (folder / "none.png").write_text("no picture")
    rows.append({"id": "none", "image": "none.png", "caption": CAPTIONS[0]})
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return folder / "rows.jsonl", rows


def kept(recipe, source, out):
    counts = curate(recipe, source, out).manifest["counts"]
    assert counts["rows"] == counts["kept"] + counts["dropped"] + counts["rejected"]
    return {
        r["id"]
        for r in pq.read_table(out / "decisions.parquet").to_pylist()
        if r["state"] == "kept"
    }


def test_basic(pairs, tmp_path):
    source, rows = pairs
    want = set()
    for row in rows[:-1]:
        text, (w, h) = row["caption"], Image.open(source.parent / row["image"]).size
        if (
            english(text)
            and len(text.split()) > 2
            and len(text) > 5
            and min(w, h) >= 200
            and max(w, h) / min(w, h) <= 3
        ):
            want.add(row["id"])
    assert (
        len(want) == 3 * sum(english(c) and len(c.split()) > 2 and len(c) > 5 for c in CAPTIONS) > 9
    )
    assert kept(operators("recipe=datacomp_basic"), source, tmp_path / "out") == want


WORDNET = """  1 This is a license.
bass n 2 1 @ 2 0 00000004 00000005
box n 1 2 @ ~ 1 0 00000006
crane n 2 3 @ ~ #m 2 0 00000001 00000002
dog n 2 1 @ 2 1 00000002 00000003
dog_house n 1 1 @ 1 0 00000002
glasses n 1 0 1 0 00000007
glass n 1 1 @ 1 0 00000002
goose n 1 1 @ 1 0 00000003
men n 1 0 1 0 00000008
man n 1 1 @ 1 0 00000002
city n 1 1 @ 1 0 00000006
"""
ENDINGS = [("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y")]  # fmt: skip
CLASSES = {"n00000002", "n00000003", "n00000006"}


@pytest.fixture
def wordnet(tmp_path):
    (tmp_path / "index.noun").write_text(WORDNET)
    (tmp_path / "noun.exc").write_text("geese goose\nmen man\noxen ox\n")
    return tmp_path


def asked(word, index, irregular):
    """WordNet's way from a word to its first sense: as it stands, else what it is irregularly, else
    with each ending off.
    """
    forms = [word]
    if word in irregular:
        forms += irregular[word]
    else:
        for ending, instead in ENDINGS:
            if word.endswith(ending):
                forms.append(word[: -len(ending)] + instead)
    return next((index[f] for f in forms if f in index), None)


def test_words_by_their_first_sense(wordnet):
    first_senses = first_sense_words(CLASSES, wordnet)
    assert {
        "dog",
        "dogs",
        "box",
        "boxes",
        "city",
        "cities",
        "goose",
        "geese",
        "glass",
        "man",
    } <= set(first_senses)
    assert not {"crane", "cranes", "bass", "glasses", "men", "dog_house"} & set(
        first_senses
    )  # another sense is first, or the word has one of its own
    index = {
        line.split()[0]: "n" + line.split()[4 + int(line.split()[3]) + 2]
        for line in WORDNET.splitlines()[1:]
    }
    irregular = {"geese": ["goose"], "men": ["man"], "oxen": ["ox"]}
    words = [
        w + e
        for w in [*index, "ox", "glov", "x", "cit"]
        for e in ("", "s", "es", "ies", "ves", "ses")
    ] + list(irregular)
    for word in words:
        if "_" not in word:
            assert (word in first_senses) == (asked(word, index, irregular) in CLASSES), word
    assert first_senses == sorted(set(first_senses))
    with pytest.raises(FileNotFoundError, match="apt-get install wordnet-base"):
        first_sense_words(CLASSES, wordnet / "nowhere")


def test_text_based(pairs, wordnet, tmp_path):
    source, rows = pairs
    (tmp_path / "words.json").write_text(json.dumps(first_sense_words(CLASSES, wordnet)))
    index = {
        line.split()[0]: "n" + line.split()[4 + int(line.split()[3]) + 2]
        for line in WORDNET.splitlines()[1:]
    }
    want = set()
    for row in rows:
        words = row["caption"].lower().replace(",", " ").split()
        if english(row["caption"]) and any(
            asked(w, index, {"geese": ["goose"]}) in CLASSES for w in words
        ):
            want.add(row["id"])
    assert len(want) == 2 * len(SIZES) + 1
    recipe = operators(
        "recipe=datacomp_text", f"recipe.operators.2.entries.vocabulary={tmp_path / 'words.json'}"
    )
    assert kept(recipe, source, tmp_path / "out") == want


@pytest.mark.slow
@pytest.mark.skipif(
    not (Path(FOLDER) / "index.noun").is_file(), reason="needs the Debian package wordnet-base"
)
def test_the_words_of_imagenet():
    words = set(imagenet_words())
    assert {"dog", "dogs", "children", "wolves", "boxes", "lighthouse"} <= words
    # a crane is first a novelist
    assert not words & {"crane", "run", "beautiful", "the", "of", "photo"}
    assert 25_000 < len(words) < 32_000


def vectors(pixels):
    """What the toy model sees: the mean color; what it reads: the vowels."""
    return np.array([p.reshape(-1, 3).mean(axis=0) - 127.5 for p in pixels])


def read(texts):
    return np.array([[1 + t.count("a"), t.count("e") - 1, t.count("o") - 1] for t in texts], float)


@pytest.fixture
def towers(monkeypatch, tmp_path):
    def unit(x):
        return torch.nn.functional.normalize(torch.tensor(x), dim=1).float()

    pair = clip.TwoTowers(lambda pixels: unit(vectors(pixels)), lambda texts: unit(read(texts)))
    monkeypatch.setattr(clip, "load_towers", lambda model, device: pair)
    (tmp_path / "model").mkdir()
    return str(tmp_path / "model")


def cosines(source, rows):
    x = vectors([np.asarray(Image.open(source.parent / r["image"]).convert("RGB")) for r in rows])
    y = read([r["caption"] for r in rows])
    return x, (x * y).sum(axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)


def best(source, rows, budget):
    """The best share of all rows read; a row without a caption or an image has no score."""
    rows = [r for r in rows[:-1] if r["caption"]]
    _, score = cosines(source, rows)
    order = sorted(range(len(rows)), key=lambda i: (-score[i].round(6), rows[i]["id"]))
    return [rows[i] for i in order[: round(budget * (len(CAPTIONS) * len(SIZES) + 1))]]


def test_clip_score(pairs, towers, tmp_path):
    source, rows = pairs
    want = {r["id"] for r in best(source, rows, 0.3)}
    assert len(want) == round(0.3 * len(rows)) == 28
    assert (
        kept(
            operators("recipe=datacomp_clip", f"model.name={towers}", "budget=0.3"),
            source,
            tmp_path / "out",
        )
        == want
    )


def test_image_based_among_the_best(pairs, towers, tmp_path):
    source, rows = pairs
    chosen = [
        r
        for r in best(source, rows, 0.6)
        if english(r["caption"]) and len(r["caption"].split()) > 1 and len(r["caption"]) > 5
    ]
    x, _ = cosines(source, chosen)
    reference = np.array([[-1.0, -1, -1], [-1, -0.9, -1.1]])
    np.save(tmp_path / "reference.npy", reference)
    recipe = operators(
        "recipe=datacomp_image", f"model.name={towers}", "budget=0.6", f"recipe.operators.8.reference_clusters.against={tmp_path / 'reference.npy'}", "+recipe.operators.8.reference_clusters.clusters=6"
    )  # fmt: skip
    ids = kept(recipe, source, tmp_path / "out")
    from coreset.numerics.neighbors.semantic import unit_rows
    from coreset.numerics.neighbors.spherical import spherical_kmeans

    order = np.argsort([r["id"] for r in chosen])
    x = x[order]
    centroids = spherical_kmeans(unit_rows(x.astype(np.float32)), 6, 20, 0).astype(np.float64)
    held = set((reference @ centroids.T).argmax(axis=1).tolist())
    label = (x @ centroids.T).argmax(axis=1)
    want = {
        chosen[i]["id"] for i, c in zip(order.tolist(), label.tolist(), strict=True) if c in held
    }
    assert ids == want
    assert 0 < len(want) < len(chosen)
