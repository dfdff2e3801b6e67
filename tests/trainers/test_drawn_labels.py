"""Boxes and masks drawn in a real Label Studio, with annotators played through its API."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from coreset.cli.common import conf_dir
from coreset.trainers.data.coco import IGNORED, coco_folder, undrawn
from coreset.trainers.loops.build import build
from coreset.trainers.loops.rounds import run
from coreset.trainers.oracles import AwaitingLabels, Drawing, LabelStudio, Request
from coreset.trainers.oracles.drawn import Drawn, file_of
from coreset.trainers.oracles.server import Server
from coreset.trainers.settings import resolve
from coreset.vision.handoff.brush import decode_brush
from coreset.vision.handoff.label_studio import brush, rectangle
from tests.tools import label_studio
from tests.tools.envs import python_of, run_tool

DETECTOR = [
    "model.options={min_size:72,max_size:96,rpn_pre_nms_top_n_train:60,rpn_post_nms_top_n_train:30,"
    "rpn_pre_nms_top_n_test:60,rpn_post_nms_top_n_test:30,box_detections_per_img:10}",
    "task.score_threshold=0.0", "task.prelabels=0.05",
]  # fmt: skip


def test_a_folder_without_annotations_or_test_set_is_unlabeled(undrawn_stamps, tmp_path):
    with pytest.warns(UserWarning, match="no test set, so nothing can be measured"):
        data = coco_folder(str(undrawn_stamps), test=None, cache=str(tmp_path / "cache"))
    assert data.labels.tolist() == [-1] * 30
    assert len(data.test_images) == len(data.test_labels) == 0


@pytest.fixture
def truth(stamps_folder, tmp_path):
    return coco_folder(str(stamps_folder), cache=str(tmp_path / "cache"))


@pytest.fixture
def client(annotation_server, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", label_studio.TOKEN)
    return annotation_server


def settings(root, tmp_path, *more):
    overrides = [
        f"data.root={root}", f"data.cache={tmp_path / 'cache'}", f"store={tmp_path / 'store'}", "mode=active",
        "start=4", "budget=[7]", "trainer.accelerator=cpu", "fit.batch_size=2", "baseline=[]", *more,
    ]  # fmt: skip
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        plain = OmegaConf.to_container(compose("train", overrides=overrides), resolve=True)
    return resolve(plain, overrides)


def tasks(client, number):
    got = client.get("/api/tasks/", params={"project": number, "fields": "all", "page_size": 500})
    return sorted(got.raise_for_status().json()["tasks"], key=lambda t: t["id"])


def boxes_of(part, at):
    """Return what an annotator draws: the true boxes."""
    width, height = part.pool.sizes[at].tolist()
    names = {n: part.pool.categories[k] for k, n in part.number.items()}
    return [
        rectangle(box.tolist(), names[int(c)], width, height)
        for box, c in zip(*part.boxes(at), strict=True)
    ]


def brushes_of(part, at):
    """Return what an annotator paints: the true class map."""
    names = {n: part.pool.categories[k] for k, n in part.number.items()}
    seen = part.class_map(at)
    return [brush(seen == n, names[n]) for n in np.unique(seen).tolist() if n]


def played(client, context_of, drawn_of):
    """Run with an annotator until the end; return the project's number and how often it stopped."""
    for stops in range(4):
        context = context_of()
        try:
            run(context)
        except AwaitingLabels:
            state = json.loads((context.folder.path / "label_studio.json").read_text())
            for task in tasks(client, state["project"]):
                if not task["annotations"]:
                    label_studio.annotate(client, task["id"], drawn_of(task["data"]["index"]))
            continue
        return state["project"], stops, context
    raise AssertionError("the run never ends")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_detector_learns_from_boxes_as_from_the_file(undrawn_stamps, truth, tmp_path, client):
    more = ["task=detection", "strategy=top_k", "strategy.signal=uncertainty", "fit.steps=2", *DETECTOR]  # fmt: skip
    url = f"oracle.url={client.base_url}"
    asked = settings(undrawn_stamps, tmp_path, "oracle=label_studio", url, *more)
    number, stops, context = played(
        client, lambda: build(asked, tmp_path / "run"), lambda at: boxes_of(truth.part, at)
    )
    assert stops == 2
    known = build(settings(truth.part.root.parent, tmp_path, *more), tmp_path / "known")
    run(known)
    assert [e["indices"] for e in context.folder.ledger] == [
        e["indices"] for e in known.folder.ledger
    ]
    assert [p.value for p in context.folder.points] == [p.value for p in known.folder.points]
    last = "model.safetensors"
    one, other = (f.folder.round(1) / last for f in (context, known))
    assert one.read_bytes() == other.read_bytes()
    held = tasks(client, number)
    rows = [i for e in context.folder.ledger for i in e["indices"]]
    assert [t["data"]["index"] for t in held] == rows  # most wanted first
    assert [t["data"]["priority"] for t in held] == [*range(4), *range(3)]
    scores = [t["data"]["acquisition_score"] for t in held[4:]]
    assert scores == sorted(scores, reverse=True)
    first = held[0]["data"]
    path = truth.part.root / str(truth.part.pool.names[first["index"]])
    assert client.get(first["image"]).content == path.read_bytes()
    assert [bool(t["predictions"]) for t in held] == [False] * 4 + [True] * 3
    proposed = [r for t in held[4:] for r in t["predictions"][0]["result"]]
    assert all(r["type"] == "rectanglelabels" for r in proposed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_masks_come_back_pixel_by_pixel(undrawn_stamps, truth, tmp_path, client):
    more = ["task=segmentation", "strategy=random", "fit.steps=2", "task.size=[72,96]", "model.pretrained=false"]  # fmt: skip
    asked = settings(
        undrawn_stamps, tmp_path, "oracle=label_studio", f"oracle.url={client.base_url}", *more
    )
    number, stops, context = played(
        client, lambda: build(asked, tmp_path / "run"), lambda at: brushes_of(truth.part, at)
    )
    assert stops == 2
    learner = context.learner
    rows = [i for e in context.folder.ledger for i in e["indices"]]
    for at in rows:
        drawn, true = (d.part.class_map(at) for d in (learner.fitter.data, truth))
        np.testing.assert_array_equal(drawn, true)
    assert all(not r for i, r in enumerate(learner.fitter.data.part.annotations) if i not in rows)
    held = tasks(client, number)
    entries = learner.objects(np.array([held[-1]["data"]["index"]]))[0]
    assert all(e["segmentation"].shape == (72, 96) and 0 < e["score"] <= 1 for e in entries)
    shown = [t["predictions"][0]["result"] for t in held[4:]]
    assert all(r["type"] == "brushlabels" for results in shown for r in results)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_several_people_skips_changes_and_a_strange_class(truth, tmp_path, client):
    data = undrawn(truth)
    oracle = LabelStudio(
        tmp_path / "ls.json", data.ids, data.classes, url=str(client.base_url), annotators=2,
        drawing=Drawing(data.part, False, lambda rows: [[] for _ in rows]),
    )  # fmt: skip
    asked = np.array([5, 2, 8])
    oracle.check()
    oracle.ask(Request(asked, "why"))
    oracle.ask(Request(asked, "why"))  # nothing is pushed twice
    number = json.loads((tmp_path / "ls.json").read_text())["project"]
    five, two, eight = tasks(client, number)
    boxes = boxes_of(truth.part, 5)
    label_studio.annotate(client, five["id"], boxes)
    with pytest.raises(AwaitingLabels, match="3 examples"):
        oracle.label(asked)
    label_studio.annotate(client, five["id"], boxes)
    for _ in range(2):
        label_studio.annotate(client, two["id"], [], skip=True)
    label_studio.annotate(client, eight["id"], [])
    label_studio.annotate(client, eight["id"], boxes_of(truth.part, 8))
    with pytest.raises(AwaitingLabels, match="1 examples"):  # divided: is there anything at all?
        oracle.label(asked)
    label_studio.annotate(client, eight["id"], [])
    labels = oracle.label(asked)
    assert labels.tolist() == [int(truth.labels[5]), -1, 0]
    np.testing.assert_allclose(data.part.boxes(5)[0], truth.part.boxes(5)[0], atol=1e-4)
    assert data.part.annotations[8] == []
    gone = tasks(client, number)[0]["annotations"][0]["id"]
    client.delete(f"/api/annotations/{gone}/").raise_for_status()
    with pytest.warns(UserWarning, match="changed or deleted .* position 5"):
        assert oracle.label(asked).tolist() == labels.tolist()
    config = Drawn(oracle.drawing, "majority", 0.5, None).config()
    other = config.replace("</RectangleLabels>", '<Label value="owl"/></RectangleLabels>')
    client.patch(f"/api/projects/{number}/", json={"label_config": other}).raise_for_status()
    oracle.ask(Request(np.array([1]), "why"))
    last = tasks(client, number)[-1]
    for _ in range(2):
        label_studio.annotate(client, last["id"], [rectangle((1, 2, 30, 40), "owl", 96, 72)])
    with pytest.raises(ValueError, match="position 1 is annotated 'owl', which is not in data.cl"):
        oracle.label(np.array([1]))


def drawn(truth, masks, agreement="majority", overlap=0.5, prefix=None):
    drawing = Drawing(undrawn(truth).part, masks, lambda rows: [[] for _ in rows])
    return Drawn(drawing, agreement, overlap, prefix)


@pytest.mark.parametrize(
    ("people", "agreement", "expected"),
    [
        ([[(10, 10, 30, 30)]], "majority", [[10, 10, 20, 20]]),
        ([[(10, 10, 30, 30)], [(12, 10, 32, 30)]], "majority", [[11, 10, 20, 20]]),
        ([[(10, 10, 30, 30)], []], "majority", None),
        ([[(10, 10, 30, 30)], [], []], "majority", []),
        ([[(10, 10, 30, 30)], [], []], "all", None),
        ([[(0, 0, 20, 20)], [(40, 40, 60, 60)], [(0, 0, 20, 20)]], "majority", [[0, 0, 20, 20]]),
        # two of one person stay two objects, however much they overlap
        ([[(0, 0, 20, 20), (1, 0, 21, 20)]], "majority", [[0, 0, 20, 20], [1, 0, 20, 20]]),
        ([[(-5, 60, 10, 90)]], "majority", [[0, 60, 10, 12]]),  # cut at the edges
        ([[], []], "all", []),
    ],
)
def test_what_several_people_agree_on(truth, people, agreement, expected):
    form = drawn(truth, False, agreement)
    done = [{"result": [raw(form, corners) for corners in one]} for one in people]
    answer = form.answer(3, done)
    if expected is None:
        assert answer is None
        return
    drawn_boxes = np.reshape([row["bbox"] for row in answer], (-1, 4))
    np.testing.assert_allclose(drawn_boxes, np.reshape(expected, (-1, 4)), atol=1e-9)
    assert all(row["image_id"] == truth.part.pool.ids[3] for row in answer)


def raw(form, corners, name=None):
    """Return a rectangle as it is sent, also one that leaves the image."""
    x, y, x2, y2 = corners
    names = list(form.part.pool.categories.values())
    value = {"x": x / 0.96, "y": y / 0.72, "width": (x2 - x) / 0.96, "height": (y2 - y) / 0.72}
    value["rectanglelabels"] = [name or names[0]]
    return {"type": "rectanglelabels", "value": value}


def test_other_classes_and_far_boxes_are_other_objects(truth):
    form = drawn(truth, False)
    first, second = list(form.part.pool.categories.values())[:2]
    done = [
        {"result": [raw(form, (0, 0, 20, 20), first)]},
        {"result": [raw(form, (0, 0, 20, 20), second)]},
    ]
    assert form.answer(3, done) is None
    strict = drawn(truth, False, overlap=0.9)
    near = [{"result": [raw(form, (0, 0, 20, 20))]}, {"result": [raw(form, (4, 0, 24, 20))]}]
    assert strict.answer(3, near) is None
    assert len(form.answer(3, near)) == 1


def test_pixels_are_voted_on_and_the_divided_are_ignored(truth):
    form = drawn(truth, True)
    name = next(iter(form.part.pool.categories.values()))
    masks = np.zeros((3, 72, 96), bool)
    masks[0, :40], masks[1, :30], masks[2, :20] = True, True, True
    done = [{"result": [brush(m, name)]} for m in masks]
    for people, agreement, inside, divided in (
        (1, "majority", 40, 40), (2, "majority", 30, 40), (3, "majority", 30, 30), (3, "all", 20, 40),
    ):  # fmt: skip
        form = replace(form, agreement=agreement)
        number = form.take(3, json.loads(json.dumps(form.answer(3, done[:people]))))
        expected = np.zeros((72, 96), np.uint8)
        expected[:divided], expected[:inside] = IGNORED, 1
        np.testing.assert_array_equal(form.part.class_map(3), expected)
        assert number == 1


def test_polygons_are_masks_too(truth):
    form = drawn(truth, True)
    name = next(iter(form.part.pool.categories.values()))
    corners = [[0, 0], [50, 0], [50, 50], [0, 50]]  # percent
    result = {"type": "polygonlabels", "value": {"points": corners, "polygonlabels": [name]}}
    form.take(3, form.answer(3, [{"result": [result]}]))
    expected = np.zeros((72, 96), np.uint8)
    expected[:36, :48] = 1
    assert (form.part.class_map(3) != expected).sum() <= 36 + 48  # at most the edge


@pytest.mark.parametrize(
    ("masks", "result", "words"),
    [
        (False, lambda f: raw(f, (96, 0, 120, 20)), "position 3: a box of '.*' without area inside"),
        (False, lambda f: raw(f, (0, 0, 9, 9), "owl"), "'owl', which is not in data.classes: "),
        (True, lambda f: raw(f, (0, 0, 9, 9)), "position 3: a box among masks"),
        (
            True,
            lambda f: brush(np.ones((8, 8), bool), next(iter(f.part.pool.categories.values()))),
            r"a mask of \(8, 8\) pixels",
        ),
    ],
)  # fmt: skip
def test_strange_shapes_are_named(truth, masks, result, words):
    form = drawn(truth, masks)
    with pytest.raises(ValueError, match=words):
        form.answer(3, [{"result": [result(form)]}])


def test_what_is_no_shape_is_no_object(truth):
    rating = {"type": "rating", "value": {"rating": 4}}
    assert drawn(truth, False).answer(3, [{"result": [rating]}]) == []


def test_images_go_as_they_are_or_by_their_address(truth, tmp_path):
    name, content, media = file_of(truth.part, 0)
    assert (content, media) == ((truth.part.root / name).read_bytes(), "image/png")
    request = Request(np.array([2]), "why")
    (address,) = drawn(truth, False, prefix="s3://photos/").images(request, [0])
    assert address == f"s3://photos/{truth.part.pool.names[2]}"
    turned = tmp_path / "images"
    turned.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side
    part = replace(truth.part, root=turned)
    path = turned / str(part.pool.names[0])
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (96, 72), "red").save(path, exif=exif)
    name, content, media = file_of(part, 0)
    assert media == "image/png"
    assert content != path.read_bytes()  # without what turns it


def test_label_studios_own_reader_sees_the_same_mask(tmp_path):
    python = python_of("label-studio")
    mask = np.random.default_rng(0).random((31, 47)) < 0.3
    mask[4:20] = True
    (tmp_path / "rle.json").write_text(json.dumps(brush(mask, "x")["value"]["rle"]))
    text = (
        "import json, sys; from label_studio_sdk.converter.brush import decode_rle;"
        "print(json.dumps(decode_rle(json.load(open(sys.argv[1]))).tolist()))"
    )
    pixels = np.array(json.loads(run_tool(python, "-c", text, tmp_path / "rle.json")))
    np.testing.assert_array_equal(pixels.reshape(31, 47, 4)[..., 3] > 0, mask)
    np.testing.assert_array_equal(decode_brush(brush(mask, "x")["value"]["rle"], 47, 31), mask)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["task=detection", "oracle=file"], "one class an image is too little for task=detection"),
        (["task=detection", "oracle=label_studio", "oracle.overlap=0"], "overlap: expected a share"),
        (["task=detection", "task.prelabels=2"], "task.prelabels: expected a score"),
        (["task=detection", "strategy=random"], "30 chosen examples have no label|use oracle"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(undrawn_stamps, tmp_path, more, words):
    with pytest.raises(ValueError, match=words):
        run(build(settings(undrawn_stamps, tmp_path, *DETECTOR[:1], *more), tmp_path / "run"))


def test_an_upload_that_is_half_taken(monkeypatch):
    monkeypatch.setattr(
        Server, "call", lambda self, m, p, **o: {"file_upload_ids": [4]} if m == "POST" else []
    )
    with pytest.raises(ConnectionError, match="2 images were sent and 1 taken"):
        Server("http://x", "KEY").upload(1, [("a.png", b"1", "image/png"), ("b.png", b"2", "image/png")])  # fmt: skip
