"""The table of detectors by boxes paid for, on curves that are known, and trees cut into tiles."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from scripts import detection
from scripts.detection import Points, at_cost, boxes_of, crowns, table, trees


def runs_of(choice, gain, boxes=(10, 100, 1000)):
    """Precision rises by 10 points for ten times the boxes, `gain` (per seed) above that."""
    out = []
    for seed, more in enumerate(gain):
        base = 0.1 * np.log10(boxes) + 0.01 * seed
        gains = np.array([0.0] + [more] * (len(boxes) - 1))
        out.append(
            Points("stamps", choice, seed, [30, 60, 150], list(boxes), (base + gains).tolist())
        )
    return out


def test_differences_are_at_as_many_boxes():
    """A choice that costs three times the boxes must be worth them: the same precision for each
    box is no gain.
    """
    gains = [0.02, 0.03, 0.05, 0.02]
    made = runs_of("random", [0.0] * 4, (10, 100, 3000))
    made += runs_of("kcenter", [0.0] * 4, (10, 300, 3000))
    made += runs_of("uncertainty, sum", gains, (10, 300, 3000))
    made += runs_of("uncertainty, max", [-g for g in gains], (10, 50, 200))
    rows = {line.split(" | ")[0].strip("| "): line for line in table(made, "stamps").splitlines()}
    assert "0.0 [" in rows["kcenter"].replace("100.0 [", "")
    assert "+3.0 [" in rows["uncertainty, sum"]
    assert "-3.0 [" in rows["uncertainty, max"]
    p = stats.ttest_1samp(gains, 0).pvalue
    assert f"{2 * p:.3f}" in rows["uncertainty, sum"]  # of two: all differences of k-center are 0
    assert "(300 boxes)" in rows["kcenter"]
    assert "beat random at as many boxes: uncertainty, sum (p below 0.05)." in table(made, "stamps")
    assert "All 150 images (3000 boxes): 36.3." in table(made, "stamps")


def test_precision_at_a_cost():
    curve = Points("a", "random", 0, [1, 2, 3], [10, 100, 1000], [0.1, 0.2, 0.6])
    assert at_cost(curve, 100) == pytest.approx(0.2)
    assert at_cost(curve, np.sqrt(1e5)) == pytest.approx(0.4)


def test_tiles_hold_every_crown_once(tmp_path, monkeypatch):
    source = tmp_path / "fetched" / "data"
    source.mkdir(parents=True)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (3 * 128 + 40, 70 * 128, 3), np.uint8)
    for name in ("OSBS_029", "B"):
        Image.fromarray(pixels).save(source / f"{name}.png")
    corners = np.stack([rng.uniform(0, 69 * 128, 500), rng.uniform(0, 360, 500)], axis=1)
    drawn = np.concatenate([corners, corners + 20], axis=1).round()
    rows = "\n".join(",".join(map(str, box)) for box in drawn)
    (source / "OSBS_029.csv").write_text(f"xmin,ymin,xmax,ymax\n{rows}\n")
    one = "<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>25</xmax><ymax>36</ymax></bndbox>"
    (source / "B.xml").write_text(f"<annotation><object>{one}</object></annotation>")
    assert crowns(source)["B.png"].tolist() == [[5, 6, 25, 36]]
    monkeypatch.setattr("scripts.fetch_assets.fetch", lambda name: source.parent)
    trees(tmp_path / "a", 0)
    parts = [json.loads((tmp_path / "a" / f"{p}.json").read_text()) for p in ("train", "test")]
    names = [i["file_name"] for part in parts for i in part["images"]]
    assert len(names) == len(set(names)) == 2 * 70 * 3
    assert len(parts[1]["images"]) == 160
    assert all((tmp_path / "a" / "images" / name).exists() for name in names)
    centers = (drawn[:, :2] + drawn[:, 2:]) / 2
    held = int(((centers < [70 * 128, 3 * 128]).all(axis=1)).sum()) + 1  # a rest is no tile
    assert sum(sum(boxes_of(part).values()) for part in parts) == held
    for part in parts:
        for entry in part["annotations"]:
            x, y, width, height = entry["bbox"]
            assert 0 <= x <= 128 - width
            assert 0 <= y <= 128 - height
    trees(tmp_path / "b", 1)
    other = json.loads((tmp_path / "b" / "test.json").read_text())
    assert other["images"] != parts[1]["images"]


def test_one_seed_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["detection.py", "--seeds", "1"])
    with pytest.raises(SystemExit):
        detection.main()
    assert "expected at least 2" in capsys.readouterr().err
