"""Pasted children of a flywheel over a COCO folder: stamps by box and by mask, real nuclei."""

import json
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from coreset.core.cache import asset_dir
from coreset.flywheel import Artifact
from coreset.flywheel.assemble import Assemble
from coreset.flywheel.synthesize import AddChildren
from coreset.flywheel.tables import read_table
from coreset.trainers import flywheel as command
from coreset.trainers.coco_flywheel import coco_flywheel, rarest_class
from coreset.trainers.data.coco import coco_folder, joined
from coreset.trainers.learners.config import TrainingConfig
from coreset.trainers.paste import PasteChildren, make_children, with_children

ROLES = np.array(["train"] * 12 + ["dev"] * 8 + ["pool"] * 10 + ["test"] * 10)


def embed(squares):
    small = squares[:, ::8, ::8].astype(np.float32)
    return small.reshape(len(small), -1) / 255


def copied(source, root, change=lambda row: row):
    """Return the folder of images again, with its annotations changed."""
    root.mkdir()
    (root / "images").symlink_to(source / "images")
    for name in ("train.json", "test.json"):
        whole = json.loads((source / name).read_text())
        whole["annotations"] = [change(dict(row)) for row in whole["annotations"]]
        (root / name).write_text(json.dumps(whole))
    return root


def without_mask(row):
    row.pop("segmentation")
    return row


@pytest.fixture(scope="module")
def nuclei_folder(tmp_path_factory):
    """24 + 10 windows of 64 x 64 pixels of a fluorescence image, with the real masks."""
    from skimage.io import imread

    assets = asset_dir("nuclei_masks")
    image, names = (imread(next(assets.rglob(n))) for n in ("img2d.tif", "mask2d.tif"))
    gray = (255 * (image / image.max())).astype(np.uint8)
    root = tmp_path_factory.mktemp("nuclei")
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    for part, many in (("train", 30), ("test", 10)):
        images, annotations = [], []
        for i in range(many):
            # test windows are of the lower half
            half = gray.shape[0] // 2
            y = int(rng.integers(half - 64)) + (half if part == "test" else 0)
            x = int(rng.integers(gray.shape[1] - 64))
            file = f"{part}{i}.png"
            Image.fromarray(gray[y : y + 64, x : x + 64]).save(root / "images" / file)
            images.append({"id": i + 1, "file_name": file, "width": 64, "height": 64})
            window = names[y : y + 64, x : x + 64]
            for k in np.unique(window[window > 0]).tolist():
                runs = run_lengths(window == k)
                rows, cols = np.nonzero(window == k)
                box = [cols.min(), rows.min(), np.ptp(cols) + 1, np.ptp(rows) + 1]
                annotations.append({
                    "id": len(annotations) + 1, "image_id": i + 1, "category_id": 1, "iscrowd": 0,
                    "bbox": [int(v) for v in box], "area": len(rows), "segmentation": runs,
                })  # fmt: skip
        whole = {"images": images, "annotations": annotations}
        whole["categories"] = [{"id": 1, "name": "nucleus"}]
        (root / f"{part}.json").write_text(json.dumps(whole))
    return root


def run_lengths(mask):
    flat, runs, value = mask.ravel(order="F").tolist(), [], False
    count = 0
    for one in flat:
        if one != value:
            runs.append(count)
            count, value = 0, one
        count += 1
    return {"size": list(mask.shape), "counts": [*runs, count]}


def decoded(row, shape):
    """Return the pixels of an annotation, without the library's own code."""
    from pycocotools import mask as codec

    if "segmentation" not in row:
        x, y, w, h = (int(v) for v in row["bbox"])
        out = np.zeros(shape, bool)
        out[y : y + h, x : x + w] = True
        return out
    coded = row["segmentation"]
    if isinstance(coded["counts"], list):
        values = np.repeat(np.arange(len(coded["counts"])) % 2, coded["counts"])
        return values.reshape(shape, order="F").astype(bool)
    return codec.decode({**coded, "counts": coded["counts"].encode()}).astype(bool)


def box_of(mask):
    rows, cols = np.nonzero(mask)
    return [cols.min(), rows.min(), np.ptp(cols) + 1, np.ptp(rows) + 1]


@pytest.mark.parametrize("kind", ["stamps", "boxes", "nuclei"])
@pytest.mark.parametrize("blend", [0.0, 1.0])
def test_pixels_boxes_and_masks_of_children_are_those_of_a_paste_in_numpy(
    request, tmp_path, kind, blend
):
    if kind == "nuclei":
        root = request.getfixturevalue("nuclei_folder")
    else:
        change = without_mask if kind == "boxes" else lambda row: row
        root = copied(request.getfixturevalue("stamps_folder"), tmp_path / "data", change)
    part = joined(coco_folder(str(root), cache=str(tmp_path / "cache"))).part
    start = np.arange(12)
    labels = rarest_class(part, start)
    stage = PasteChildren(each=6, blend=blend)
    folder = make_children(tmp_path / "children", part, start, labels, stage, 0)
    whole = json.loads((folder / "children.json").read_text())
    assert len(whole["images"]) >= 6
    at = {k: i for i, k in enumerate(part.pool.ids.tolist())}
    covered = 0
    for child in whole["images"]:
        source, ground = (at[p] for p in child["parents"].split())
        rows = [r for r in whole["annotations"] if r["image_id"] == child["id"]]
        before = part.annotations[ground]
        assert len(rows) == len(before) + 1
        pixels = np.asarray(Image.open(folder / "images" / child["file_name"]))
        shape = pixels.shape[:2]
        pasted = decoded(rows[-1], shape)
        assert box_of(pasted) == rows[-1]["bbox"]
        ground_pixels = part.image(ground).astype(float)
        alpha = pasted.astype(float)
        if blend:
            alpha = np.where(pasted, gaussian_filter(alpha, blend), 0)
            alpha /= alpha.max()
        x, y, w, h = rows[-1]["bbox"]
        same = []  # of the objects of the source one has this form and these pixels
        for row in part.annotations[source]:
            mask = decoded(row, part.image(source).shape[:2])
            left, top, wide, high = box_of(mask)
            cut = mask[top : top + high, left : left + wide]
            if (wide, high) == (w, h) and (cut == pasted[y : y + h, x : x + w]).all():
                moved = np.zeros(ground_pixels.shape)
                inside = part.image(source)[top : top + high, left : left + wide]
                moved[y : y + h, x : x + w] = inside
                mixed = ground_pixels + alpha[..., None] * (moved - ground_pixels)
                same.append(np.abs(pixels - mixed).max() <= 0.5 + 1e-9)
        assert any(same)
        assert (pixels[~pasted] == part.image(ground)[~pasted]).all()
        for new, old in zip(rows, before, strict=False):
            assert new["category_id"] == old["category_id"]
            was = decoded(old, shape)
            left = was & ~pasted
            assert left.sum() >= 0.3 * was.sum()
            if (left == was).all():
                assert new["bbox"] == old["bbox"]
                assert (decoded(new, shape) == was).all()
            else:
                covered += 1
                assert new["bbox"] == box_of(left)
                assert ("segmentation" in new) == ("segmentation" in old)
                assert "segmentation" not in new or (decoded(new, shape) == left).all()
    assert covered


def test_children_are_of_the_class_that_was_pasted(stamps_folder, tmp_path):
    data = joined(coco_folder(str(stamps_folder), cache=str(tmp_path / "cache")))
    start = np.arange(12)
    labels = rarest_class(data.part, start)
    make_children(tmp_path / "c", data.part, start, labels, PasteChildren(each=5), 0)
    whole, parents = with_children(data, tmp_path / "c")
    file = next((tmp_path / "c").glob("*/children.json"))
    pasted = {i["id"]: i["pasted"] for i in json.loads(file.read_text())["images"]}
    got = rarest_class(whole.part, start)[40:]
    assert [whole.classes[k] for k in got] == [pasted[k] for k in whole.ids[40:].tolist()]
    assert len(parents) == len(whole.ids) - 40 == len(whole.images) - 40
    assert set(" ".join(parents).split()) <= set(data.ids[:12].tolist())


def wheel_of(folder, data, stage=None, **options):
    features = embed(np.concatenate([data.images, data.test_images]))
    return coco_flywheel(
        folder, data, ROLES, features, None, TrainingConfig(steps=1),
        stages={"synthesize": stage or PasteChildren(each=4)}, embed=embed, **options,
    )  # fmt: skip


def test_the_folder_of_the_user_stays_and_children_killed_half_way_are_the_same(
    stamps_folder, tmp_path, monkeypatch
):
    before = {p: p.read_bytes() for p in stamps_folder.rglob("*") if p.is_file()}
    data = coco_folder(str(stamps_folder), cache=str(tmp_path / "cache"))
    whole = wheel_of(tmp_path / "whole", data)
    import coreset.trainers.paste as module

    write, left = module.write_atomic, [5]

    def killed(path, content):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return write(path, content)

    monkeypatch.setattr(module, "write_atomic", killed)
    with pytest.raises(KeyboardInterrupt):
        wheel_of(tmp_path / "killed", data)
    assert not list((tmp_path / "killed").rglob("children.json"))
    monkeypatch.setattr(module, "write_atomic", write)
    again = wheel_of(tmp_path / "killed", data)
    files = {p.relative_to(tmp_path / "whole"): p for p in (tmp_path / "whole").rglob("*.*")}
    assert len(files) > 8
    for name, path in files.items():
        assert (tmp_path / "killed" / name).read_bytes() == path.read_bytes()
    assert again.data.ids.tolist() == whole.data.ids.tolist()
    assert {p: p.read_bytes() for p in stamps_folder.rglob("*") if p.is_file()} == before


def test_a_child_made_of_a_frozen_image_is_refused(stamps_folder, tmp_path):
    data = coco_folder(str(stamps_folder), cache=str(tmp_path / "cache"))
    wheel_of(tmp_path / "wheel", data)
    file = next((tmp_path / "wheel").rglob("children.json"))
    whole = json.loads(file.read_text())
    frozen = f"t{data.test_part.pool.ids[0]}"
    whole["images"][0]["parents"] = frozen
    file.write_text(json.dumps(whole))
    with pytest.raises(ValueError, match=f"is made of '{frozen}', expected an example of train"):
        wheel_of(tmp_path / "wheel", data)


def test_children_without_features_or_of_other_categories_are_refused(stamps_folder, tmp_path):
    data = coco_folder(str(stamps_folder), cache=str(tmp_path / "cache"))
    wheel_of(tmp_path / "wheel", data)
    features = np.zeros((40, 2), np.float32)
    with pytest.raises(ValueError, match="embed: with pasted children expected what gives"):
        coco_flywheel(tmp_path / "wheel", data, ROLES, features, None, TrainingConfig(steps=1))
    file = next((tmp_path / "wheel").rglob("children.json"))
    whole = json.loads(file.read_text())
    whole["categories"][0]["name"] = "other"
    file.write_text(json.dumps(whole))
    with pytest.raises(ValueError, match="its categories are not those of"):
        wheel_of(tmp_path / "wheel", data)


@pytest.mark.parametrize("setting", [{"each": 0}, {"blend": -1}, {"visible": 0}, {"visible": 1.1}])
def test_settings_without_a_meaning_are_refused(setting):
    with pytest.raises(ValueError, match="paste: expected each of at least 1"):
        PasteChildren(**setting)
    assert isinstance(PasteChildren(), AddChildren)


@dataclass(frozen=True)
class Named:
    """One class is weak, whatever was measured."""

    name: str

    def run(self, turn):
        return Artifact({"weak": [{"name": f"class={self.name}", "excess": 0.1, "rows": 8}]})


class WholePool:
    def run(self, turn):
        ids = turn.data.ids[turn.data.at("pool")]
        ids = ids[~np.isin(ids, turn.version.ids)]
        name = turn.facts("diagnose")["weak"][0]["name"]
        table = {"id": ids, "slice": [name] * len(ids), "score": np.ones(len(ids))}
        table["why"] = ["anything"] * len(ids)
        facts = {"candidates": {name: len(ids)}}
        return Artifact(facts, {"candidates": table, "clean": {"id": ids}})


class OneTurn:
    def run(self, turn):
        return Artifact({"stop": "one turn", "next_budget": 0.0, "tied_in_a_row": 0})


class Killed(BaseException):
    pass


def killed_assemble(self, turn):
    raise Killed


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["coreset-flywheel", *words])
    command.main()


def plant_copy_of_a_test_image(folder, data, label):
    """Put a child among the others that claims parents of the start set and shows a test image."""
    file = next(folder.rglob("children.json"))
    whole = json.loads(file.read_text())
    parents = whole["images"][0]["parents"]
    category = next(c["id"] for c in whole["categories"] if c["name"] == label)
    pixels = data.test_part.image(0)
    root = file.parent.with_name("planted")
    (root / "images").mkdir(parents=True)
    Image.fromarray(pixels).save(root / "images/copy.png")
    height, width = pixels.shape[:2]
    image = {"id": "copy", "file_name": "copy.png", "width": width, "height": height}
    whole["images"] = [{**image, "parents": parents}]
    box = {"id": 1, "image_id": "copy", "category_id": category, "bbox": [1, 2, 9, 9]}
    whole["annotations"] = [box]
    (root / "children.json").write_text(json.dumps(whole))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objects", "source", "more"),
    [("boxes", "stamps_folder", "+boxes.model.min_size=72"),
     ("masks", "nuclei_folder", "masks.task.size=[64,64]")],
)  # fmt: skip
def test_a_turn_of_the_command_takes_or_refuses_every_child_and_resumes(
    request, tmp_path, monkeypatch, capsys, objects, source, more
):
    root = request.getfixturevalue(source)
    data = coco_folder(str(root), cache=str(tmp_path / "cache"))
    weak = data.classes[-1]
    here = "tests.trainers.test_paste"
    stages = (
        f"stages={{diagnose: {{_target_: {here}.Named, name: {weak!r}}},"
        f" mine: {{_target_: {here}.WholePool}}, decide: {{_target_: {here}.OneTurn}},"
        " synthesize: {_target_: coreset.trainers.paste.PasteChildren, most: 3, each: 6}}"
    )
    settings = (
        "data=coco_folder", f"data.root={root}", f"data.cache={tmp_path}/cache",
        f"store={tmp_path}/store", "embedding=pixels", "split.train=0.4", "split.dev=0.2",
        "split.canary=0", "freeze.clusters=0", "freeze.leaks=drop", f"objects={objects}",
        f"{objects}.fit.steps=1", f"{objects}.fit.batch_size=2", more, stages,
    )  # fmt: skip
    tables = []
    for name in ("whole", "killed"):
        wheel = tmp_path / name
        run(monkeypatch, "init", f"flywheel={wheel}", *settings)
        plant_copy_of_a_test_image(wheel, data, weak)
        if name == "killed":
            with monkeypatch.context() as patch:
                patch.setattr(Assemble, "run", killed_assemble)
                with pytest.raises(BaseException):  # noqa: B017, PT011  # Hydra may wrap it
                    run(patch, "turn", f"flywheel={wheel}", *settings, "budget=8")
            assert json.loads((wheel / "state.json").read_text())["turns"] == 0
        run(monkeypatch, "turn", f"flywheel={wheel}", *settings, "budget=8")
        kept = [*wheel.glob("turns/001/synthesize-*"), *wheel.glob("turns/001/version-*.parquet")]
        kept += [*wheel.glob("children/**/*.*"), *wheel.glob("versions/*")]
        tables.append({p.relative_to(wheel): p.read_bytes() for p in kept})
    assert tables[0] == tables[1]
    turn = tmp_path / "whole/turns/001"
    rows = read_table(turn / "synthesize-children.parquet")
    why = dict(zip(rows["id"].tolist(), rows["reason"].tolist(), strict=True))
    assert why.pop("copy") == "leaks from a frozen example"
    taken = [k for k, reason in why.items() if not reason]
    assert 1 <= len(taken) <= 3
    words = {"", "more than the cap", "leaks from a frozen example"}
    words |= {"a parent is not in the training set"}
    assert all(r in words or r.startswith("repeats ") for r in why.values())
    parts = ("candidate", "without", "real")
    ids = {n: set(read_table(turn / f"version-{n}.parquet")["id"]) for n in parts}
    assert ids["candidate"] - ids["without"] == set(taken)
    assert ids["without"] < ids["real"]
    assert not any(k.startswith("c") for k in ids["real"])
    arms = json.loads((turn / "retrain.json").read_text())["facts"]["arms"]
    assert set(arms) == {"current", "candidate", "control", "without", "real"}
    assert "What synthesis added" in (tmp_path / "whole/report.html").read_text()


def test_an_embedding_that_is_trained_on_the_images_is_refused(
    stamps_folder, tmp_path, monkeypatch, capsys
):
    with pytest.raises(SystemExit):
        run(
            monkeypatch, "init", f"flywheel={tmp_path}/wheel", "data=coco_folder",
            f"data.root={stamps_folder}", f"data.cache={tmp_path}/cache",
            f"store={tmp_path}/store", "embedding=self_supervised", "embedding.steps=1",
            "embedding.batch_size=4", "split.train=0.4", "split.dev=0.2", "split.canary=0",
            "stages={synthesize: {_target_: coreset.trainers.paste.PasteChildren, each: 2}}",
        )  # fmt: skip
    assert "embedding: with pasted children expected pixels" in capsys.readouterr().err.replace(
        "\n", " "
    )
