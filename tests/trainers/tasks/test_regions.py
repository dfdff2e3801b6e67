"""What a backbone sees inside boxes, where it is known: maps that hold their own coordinates."""

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FeaturePyramidNetwork

from coreset.trainers.data.coco import coco_folder
from coreset.trainers.tasks.detection import Detection, box_table
from coreset.trainers.tasks.light_detector import light_detector
from coreset.trainers.tasks.regions import REGIONS, RegionMaps

STRIDE = 8


class Coordinates(nn.Module):
    """Gives of every cell the place of its center, in pixels of the padded batch."""

    def __init__(self, pyramid):
        super().__init__()
        self.pyramid = FeaturePyramidNetwork([2, 2], 4) if pyramid else nn.Identity()

    def forward(self, x):
        rows, columns = x.shape[2] // STRIDE, x.shape[3] // STRIDE
        y = (torch.arange(rows) + 0.5)[:, None].expand(rows, columns) * STRIDE
        x_ = (torch.arange(columns) + 0.5)[None].expand(rows, columns) * STRIDE
        finest = torch.stack([x_, y]).expand(len(x), 2, rows, columns)
        return self.pyramid({"0": finest, "1": finest[:, :, ::2, ::2]})


class Model(nn.Module):
    def __init__(self, pyramid):
        super().__init__()
        self.transform = GeneralizedRCNNTransform(96, 200, [0.0] * 3, [1.0] * 3)
        self.backbone = Coordinates(pyramid)

    def forward(self, images):
        batch, _ = self.transform(images)
        return self.backbone(batch.tensors)


@pytest.mark.parametrize("pyramid", [True, False])
def test_the_mean_inside_a_box_is_at_its_center_whatever_is_resized_and_padded(pyramid):
    model = Model(pyramid)
    images = [torch.zeros(3, 60, 70), torch.zeros(3, 60, 70)]  # 96 x 112 in the network, then 128
    look = RegionMaps(model)
    model(images)
    boxes = np.array([[[10, 10, 50, 40], [20, 12, 44, 36]], [[12, 8, 30, 50], [30, 30, 60, 50]]])
    got = look.inside(images, boxes.astype(np.float32))
    centers = (boxes[:, :, :2] + boxes[:, :, 2:]) / 2 * 96 / 60
    np.testing.assert_allclose(got, centers, atol=1e-3)
    look.close()
    seen = look._caught["batch"]
    model(images)
    assert look._caught["batch"] is seen  # nothing is caught any more


def test_a_model_without_the_modules_of_torchvision_is_refused():
    with pytest.raises(ValueError, match="with the modules transform and backbone; Sequential has"):
        RegionMaps(nn.Sequential(nn.Linear(1, 1)))


@pytest.mark.slow
def test_the_signal_is_that_of_the_surest_boxes_and_the_same_in_any_batch(stamps_folder, tmp_path):
    data = coco_folder(str(stamps_folder), cache=str(tmp_path))
    model = light_detector(len(data.classes), 3, 64, min_size=72, max_size=96, convolutions=1)
    model.score_thresh = 0.0
    rows, names = np.arange(6), ["boxes", "regions"]
    about = {"device": torch.device("cpu"), "members": 1, "seed": 0, "bf16": False}
    told = Detection(batch_size=4).measure(model, data, rows, names, **about)
    assert told["regions"].shape == (6, REGIONS, 40)
    alone = Detection(batch_size=1).measure(model, data, rows, names, **about)
    np.testing.assert_allclose(alone["regions"], told["regions"], rtol=1e-3, atol=1e-3)
    # at one place, by hand: the map of the frozen body inside the surest box
    image = torch.from_numpy(data.part.image(0).transpose(2, 0, 1).copy()).float() / 255
    with torch.no_grad():
        table = box_table(model([image]))
        batch, _ = model.transform([image])
        finest = model.backbone.body(batch.tensors)[0][0].numpy()
    x, y, x2, y2 = table[0, 0, :4] * 72 / image.shape[1] / STRIDE
    grid = [
        bilinear(finest, y + (y2 - y) * (i + 0.5) / 4, x + (x2 - x) * (j + 0.5) / 4)
        for i in range(4) for j in range(4)
    ]  # fmt: skip
    np.testing.assert_allclose(told["regions"][0, 0], np.mean(grid, axis=0), rtol=1e-3, atol=1e-3)


def bilinear(values, y, x):
    """The value between the centers of cells, of the border outside them."""
    y, x = (np.clip(v - 0.5, 0, n - 1) for v, n in zip((y, x), values.shape[1:], strict=True))
    top, left = int(y), int(x)
    bottom, right = min(top + 1, values.shape[1] - 1), min(left + 1, values.shape[2] - 1)
    dy, dx = y - top, x - left
    upper = (1 - dx) * values[:, top, left] + dx * values[:, top, right]
    lower = (1 - dx) * values[:, bottom, left] + dx * values[:, bottom, right]
    return (1 - dy) * upper + dy * lower
