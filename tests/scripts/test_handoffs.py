"""The rounds that need no environment of their own: nothing is lost, and what is wrong is counted."""

from pathlib import Path

import numpy as np
import pytest

from coreset.vision.handoff import read_yolo
from scripts.benchmarks.handoff_rounds import files, ultralytics
from scripts.benchmarks.handoff_rounds.case import compare_objects, make_case

N = 60


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("package", ["ultralytics", "supervision"])
def test_boxes_come_back_from(package: str, tmp_path: Path) -> None:
    pytest.importorskip(package)
    case = make_case(N, tmp_path / "images")
    measure = ultralytics.ultralytics if package == "ultralytics" else files.supervision
    rounds = measure(case, tmp_path / package)
    assert len(rounds) == (2 if package == "ultralytics" else 1)
    for one in rounds:
        assert (one.lost, one.misassigned) == (0, 0)
        assert one.out == N
        assert one.edits > 0
        assert one.back > 0.8 * N


def test_a_round_counts_what_is_lost_and_what_is_another_images(tmp_path: Path) -> None:
    case = make_case(N, tmp_path / "images")
    folder = case.chosen.to_yolo(tmp_path / "yolo", case.boxes, 0.0).parent
    drawn = np.array([len(one) for one in case.objects])
    a, b, c = np.flatnonzero(drawn >= 1)[:3].tolist()
    label = [folder / "labels" / Path(str(n)).with_suffix(".txt") for n in case.pool.names]
    one, other = label[a].read_text(), label[b].read_text()
    assert one != other
    label[a].write_text(other)
    label[b].write_text(one)
    label[c].unlink()
    returned = read_yolo(folder, case.pool)
    begun = case.begin("none", "boxes", "a wrong hand", "labels")
    got = compare_objects(begun, returned, case.objects, range(N), 0.01)
    assert (got.out, got.back, got.lost, got.misassigned) == (N, N - 1, 1, 2)
    assert got.changed == ["labels"]
