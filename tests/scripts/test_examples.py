"""The examples as a newcomer runs them: a folder of images, one command, files out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent.parent / "scripts" / "examples"


def run(name, folder, home):
    (home / "Ultralytics").mkdir(exist_ok=True)
    # ultralytics would look for this font on the network
    (home / "Ultralytics" / "Arial.ttf").touch()
    env = {
        **os.environ,
        "YOLO_OFFLINE": "true",
        "YOLO_CONFIG_DIR": str(home),
        "OMP_NUM_THREADS": "1",
    }
    ran = subprocess.run(
        [sys.executable, EXAMPLES / name, folder],
        cwd=home,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def folder(stamps, tmp_path_factory):
    return stamps.build(
        tmp_path_factory.mktemp("example"), 24, 2, size=(128, 96), classes=3, most=2
    )


@pytest.mark.slow
def test_torchvision(folder, tmp_path):
    out = run("torchvision_detection.py", folder, tmp_path)
    assert out.count("round ") == 2
    events = [json.loads(line)["event"] for line in (folder / "al.jsonl").read_text().splitlines()]
    assert events == ["start", *["commit", "label"] * 2]


@pytest.mark.slow
def test_segmentation_models_pytorch(folder, tmp_path):
    pytest.importorskip(
        "segmentation_models_pytorch", reason="pip install segmentation-models-pytorch"
    )
    assert "pixels left of the budget" in run("smp_segmentation.py", folder, tmp_path)
    assert len(json.loads((folder / "next.json").read_text())["images"]) == 100_000 // (128 * 96)


@pytest.mark.slow
def test_ultralytics(folder, tmp_path):
    pytest.importorskip("ultralytics", reason="pip install ultralytics opencv-python-headless")
    assert "10 images" in run("ultralytics_detection.py", folder, tmp_path)
    assert (folder / "yolo" / "data.yaml").exists()
