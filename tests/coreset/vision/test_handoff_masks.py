"""Class maps and regions handed out as masks, and what comes back."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from coreset.vision import CocoPool, SegmentationScorer
from coreset.vision.handoff import class_maps, read_coco, read_cvat, read_label_studio, write_masks
from coreset.vision.handoff.brush import decode_brush, encode_brush
from coreset.vision.region_choice import choose_regions
from tests.tools import label_studio
from tests.tools.envs import TOOLS, python_of, run_tool

N = 40
READERS = {"coco": read_coco, "cvat": read_cvat, "label_studio": read_label_studio}


@pytest.fixture(scope="module")
def pool() -> CocoPool:
    rng = np.random.default_rng(0)
    return CocoPool(
        N, ids=rng.permutation(500)[:N], names=np.array([f"a {i % 3}/street {i:03d}.png" for i in range(N)]),
        sizes=rng.integers(9, 30, (N, 2)), categories={7: "road", 2: "sky", 30: "car"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def maps(pool: CocoPool) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        int(k): rng.integers(-1, 3, (3, 3)).repeat(10, 0).repeat(10, 1)[: size[1], : size[0]]
        for k, size in zip(pool.ids, pool.sizes, strict=True)
    }


@pytest.fixture(scope="module")
def regions(pool: CocoPool):
    """Squares of 4 pixels, chosen for a third of all pixels; every fourth image is labeled."""
    torch.manual_seed(0)
    scorer = SegmentationScorer("margin", ["mean"], tile=4, keep_regions=True)
    for k, (width, height) in zip(pool.ids, pool.sizes, strict=True):
        scorer.update([int(k)], torch.randn(1, 3, int(height), int(width)))
    budget = int(pool.sizes.prod(1).sum() // 3)
    labeled = set(pool.ids[::4].tolist())
    chosen = choose_regions(scorer.regions(), scorer.ids, budget, labeled_images=labeled)
    assert 0.8 * budget < chosen.spent <= budget
    return chosen


def accepted(file: Path, form: str) -> Path:
    """Make annotations of the predictions in Label Studio's tasks, as a person who accepts all."""
    if form == "label_studio":
        tasks = json.loads(file.read_text())
        for task in tasks:
            task["annotations"] = [{"result": task.pop("predictions")[0]["result"]}]
        file.write_text(json.dumps(tasks))
    return file


@pytest.mark.parametrize("form", READERS)
def test_maps_come_back_as_they_were(pool, maps, tmp_path: Path, form: str) -> None:
    file = accepted(write_masks(tmp_path / "masks", form, pool, maps), form)
    back = class_maps(READERS[form](file, pool))
    assert set(back) == set(maps)
    for key, given in maps.items():
        np.testing.assert_array_equal(back[key], given)


@pytest.mark.parametrize("form", READERS)
def test_regions_say_which_pixels(pool, maps, regions, tmp_path: Path, form: str) -> None:
    file = accepted(write_masks(tmp_path / "masks", form, pool, maps, regions), form)
    with pytest.raises(KeyError, match="region"):
        READERS[form](file, pool)
    back = class_maps(READERS[form](file, pool, ignore=("region",)))
    asked = regions.masks()
    assert list(back) == list(asked)
    assert not set(back) & set(pool.ids[::4].tolist())
    for key, mask in asked.items():
        np.testing.assert_array_equal(back[key], np.where(mask, maps[key], -1))
    named = CocoPool(
        N, ids=pool.ids, names=pool.names, sizes=pool.sizes, categories={**pool.categories, 31: "region"}
    )  # fmt: skip
    drawn = {k: np.zeros_like(m) for k, m in asked.items()}
    for shape in READERS[form](file, named).shapes:
        if shape.category == 31:
            counts = shape.rle["counts"]
            flat = np.repeat(np.arange(len(counts)) % 2, counts)
            key = int(pool.ids[shape.position])
            drawn[key] |= flat.reshape(drawn[key].shape[::-1]).T.astype(bool)
    for key, mask in asked.items():
        np.testing.assert_array_equal(drawn[key], mask)


def test_what_came_back_is_written_where_it_was_asked(pool, maps, regions, tmp_path: Path) -> None:
    truth = {k: np.where(m < 0, 1, m) for k, m in maps.items()}
    file = write_masks(tmp_path / "a.xml", "cvat", pool, truth, regions)
    regions.write_masks(tmp_path, class_maps(read_cvat(file, pool, ignore=("region",))))
    for key, mask in regions.masks().items():
        got = np.asarray(Image.open(tmp_path / f"{key}.png"))
        np.testing.assert_array_equal(got, np.where(mask, truth[key], 255))


def test_maps_that_do_not_fit_are_refused(pool, maps, tmp_path: Path) -> None:
    key = int(pool.ids[0])
    with pytest.raises(ValueError, match="a map of"):
        write_masks(tmp_path / "x", "coco", pool, {key: maps[key].T[:2]})
    with pytest.raises(ValueError, match="there are 3"):
        write_masks(tmp_path / "x", "coco", pool, {key: maps[key] + 3})
    with pytest.raises(ValueError, match="coco, cvat, label_studio"):
        write_masks(tmp_path / "x", "yolo", pool, maps)
    with pytest.raises(ValueError, match="no image"):
        write_masks(tmp_path / "x", "coco", pool)
    assert not (tmp_path / "x").exists()


def test_what_cvat_shows_above_lies_above_wherever_the_file_lists_it(pool, maps, tmp_path) -> None:
    key = next(k for k, v in maps.items() if (v == 0).any() and (v == 2).any())
    height, width = maps[key].shape
    file = write_masks(tmp_path / "given.xml", "cvat", pool, {key: maps[key]})
    top = f'<mask label="car" rle="0, {height * width}" left="0" top="0" width="{width}" height="{height}" z_order="%s" />'
    for z_order, whole in (("7", True), ("-1", False)):
        # the first shape of its image; the others have z_order 0 to 2
        one = file.read_text().replace('">\n    <mask', f'">{top % z_order}<mask', 1)
        (tmp_path / "one.xml").write_text(one)
        got = class_maps(read_cvat(tmp_path / "one.xml", pool))[key]
        cars = np.ones((height, width), bool) if whole else (maps[key] == 2) | (maps[key] < 0)
        np.testing.assert_array_equal(got == 2, cars)
    (tmp_path / "one.xml").write_text(file.read_text().replace('z_order="0"', 'z_order="front"'))
    with pytest.raises(ValueError, match=r"street.*z_order 'front' is no whole number"):
        read_cvat(tmp_path / "one.xml", pool)


@pytest.mark.parametrize("seed", range(3))
def test_brush_lengths_are_inverse(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((13, 300 if seed == 2 else 7)) < (0.5, 0.02, 1.0)[seed]
    np.testing.assert_array_equal(decode_brush(encode_brush(mask), *mask.shape[::-1]), mask)


@pytest.mark.slow
def test_label_studios_own_code_reads_the_brush(maps, tmp_path: Path) -> None:
    python = python_of("label-studio")
    masks = [m == 1 for m in maps.values()] + [np.ones((200, 200), bool)]
    (tmp_path / "in.json").write_text(json.dumps([encode_brush(m) for m in masks]))
    run_tool(python, TOOLS / "brush_sdk.py", tmp_path / "in.json", tmp_path / "out.json")
    for mask, flat in zip(masks, json.loads((tmp_path / "out.json").read_text()), strict=True):
        assert flat == mask.ravel().astype(int).tolist()


@pytest.mark.slow
@pytest.mark.parametrize(("form", "name"), [("cvat", "cvat"), ("coco", "coco_instances")])
def test_datumaro_reads_edits_and_writes_masks(pool, maps, tmp_path, form, name) -> None:
    python = python_of("datumaro")
    given = tmp_path / "given"
    file = "annotations.xml" if form == "cvat" else "annotations/instances_default.json"
    write_masks(given / file, form, pool, maps)
    for one, size in zip(pool.names, pool.sizes, strict=True):
        (given / "images" / one).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", tuple(size.tolist())).save(given / "images" / one)
    back = tmp_path / "back"
    run_tool(python, TOOLS / "datumaro_masks.py", name, given, back)
    file = next(back.rglob("*.xml" if form == "cvat" else "instances_*.json"))
    expected = {key: one.copy() for key, one in maps.items()}
    by_name = {
        str(Path(n).with_suffix("")): k.item() for n, k in zip(pool.names, pool.ids, strict=True)
    }
    edited = (back / "edited.txt").read_text(encoding="utf-8").split("\n")
    assert {line.split("\t")[0] for line in edited} == {"painted", "erased"}
    for line in edited:
        kind, image = line.split("\t")
        expected[by_name[image]][2:9, 3:14] = 0 if kind == "painted" else -1
    returned = class_maps((read_cvat if form == "cvat" else read_coco)(file, pool))
    assert set(returned) == set(maps)
    for key, want in expected.items():
        np.testing.assert_array_equal(returned[key], want)


CONFIG = """<View><Image name="image" value="$image"/><BrushLabels name="label" toName="image">
<Label value="road"/><Label value="sky"/><Label value="car"/><Label value="region"/></BrushLabels></View>"""


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_masks_through_a_label_studio_server(
    pool, maps, regions, tmp_path: Path, annotation_server
) -> None:
    client = annotation_server
    file = write_masks(tmp_path / "tasks.json", "label_studio", pool, maps, regions, prefix="/d/")
    tasks = json.loads(file.read_text())[:12]
    number, held = label_studio.project(client, CONFIG, tasks)
    for task in held:
        label_studio.annotate(client, task["id"], task["predictions"][0]["result"])
    native = tmp_path / "native.json"
    native.write_bytes(label_studio.export(client, number, "JSON"))
    back = class_maps(read_label_studio(native, pool, ignore=("region",)))
    asked = regions.masks()
    assert set(back) == {t["data"]["image_id"] for t in tasks}
    for key, got in back.items():
        np.testing.assert_array_equal(got, np.where(asked[key], maps[key], -1))
