import json
import os

import numpy as np
import pytest

from coreset import Pool
from coreset.vision.coco import CocoPool, positions

IMAGES = [
    {"id": i, "file_name": f"v{i % 2}/{i}.jpg", "width": 64, "height": 32, "video_id": f"v{i % 2}"}
    for i in (7, 3, 9)
]
CATEGORIES = [{"id": 1, "name": "tree"}, {"id": 5, "name": "nut"}]


def write(path, **change):
    path.write_text(
        json.dumps({"images": IMAGES, "categories": CATEGORIES, "annotations": [], **change})
    )
    return path


def test_ids_sizes_groups_and_labels(tmp_path):
    labeled = write(
        tmp_path / "labeled.json",
        images=IMAGES[1:2],
        annotations=[{"image_id": 3, "category_id": 5, "bbox": [0, 0, 64, 32]}],
    )
    features = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.save(tmp_path / "f.npy", features)
    pool = CocoPool.from_coco(
        write(tmp_path / "all.json"),
        labeled=labeled,
        features=tmp_path / "f.npy",
        groups="video_id",
    )
    assert pool.ids.tolist() == [7, 3, 9]
    assert pool.selected.tolist() == [1]
    assert pool.candidates.tolist() == [0, 2]
    assert pool.sizes.tolist() == [[64, 32]] * 3
    assert pool.groups.tolist() == ["v1", "v1", "v1"]
    assert dict(pool.categories) == {1: "tree", 5: "nut"}
    np.testing.assert_array_equal(pool.features, features)
    assert isinstance(pool.features, np.memmap)
    assert CocoPool.from_coco(tmp_path / "all.json", labeled=[9, 7]).selected.tolist() == [2, 0]


def test_features_with_ids_are_put_in_order(tmp_path):
    np.savez(tmp_path / "f.npz", ids=np.array([9, 7, 3]), features=np.array([[9.0], [7.0], [3.0]]))
    pool = CocoPool.from_coco(write(tmp_path / "all.json"), features=tmp_path / "f.npz")
    assert pool.features[:, 0].tolist() == [7, 3, 9]
    np.savez(tmp_path / "g.npz", ids=np.array([9, 7]), features=np.ones((2, 1)))
    with pytest.raises(KeyError, match=r"g.npz: no features for 1 images of .*all.json, first 3"):
        CocoPool.from_coco(tmp_path / "all.json", features=tmp_path / "g.npz")


def test_names_paths_and_stems_find_an_image_where_only_one_has_them(tmp_path):
    images = [
        {**IMAGES[0], "id": i, "file_name": name}
        for i, name in ((1, "a/x.jpg"), (2, "b/x.jpg"), (3, "c/y.jpg"), (4, "z.jpg"))
    ]
    pool = CocoPool.from_coco(write(tmp_path / "all.json", images=images))
    assert positions(pool, ["b/x.jpg", "y", "/data/z.png", 1], "names").tolist() == [1, 2, 3, 0]
    assert positions(pool, ["/data/b/x.jpg", "/data/x/c/y.jpg"], "names").tolist() == [1, 2]
    with pytest.raises(KeyError, match="names: 1 image ids are not in .*all.json, first 'x'"):
        positions(pool, ["x"], "names")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"images": [IMAGES[0], IMAGES[0]]},
            ValueError,
            "all.json: image id 7 occurs more than once",
        ),
        ({"images": []}, ValueError, "all.json: holds no images"),
        (
            {"images": [{"file_name": "a.jpg"}]},
            ValueError,
            "all.json: entry 0 of 'images' has no 'id'",
        ),
        (
            {"categories": [{"id": 1}]},
            ValueError,
            "all.json: entry 0 of 'categories': expected a whole number 'id' and",
        ),
        (
            {"annotations": [{"category_id": 1}]},
            ValueError,
            "all.json: annotation 0 has no 'image_id'",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": 1, "bbox": None}]},
            ValueError,
            "image 7: box None",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": 1, "bbox": [1, 2, "3", 4]}]},
            ValueError,
            "image 7: box",
        ),
        (
            {"images": [{"id": 7, "file_name": "a.jpg", "width": 3}]},
            ValueError,
            "all.json: image 7 has no 'height'",
        ),
        ({"categories": [CATEGORIES[0]] * 2}, ValueError, "a category id occurs more than once"),
        ({"categories": None}, ValueError, "all.json: no COCO instances file"),
        (
            {"categories": [{"id": True, "name": "x"}]},
            ValueError,
            "all.json: entry 0 of 'categories': expected a whole",
        ),
        (
            {"images": [{**IMAGES[0], "width": 0}]},
            ValueError,
            "all.json: image 7: width: expected a whole .* got 0",
        ),
        (
            {"images": [{**IMAGES[0], "width": "9"}]},
            ValueError,
            "all.json: image 7: width: expected a whole .*'9'",
        ),
        (
            {"images": [{**IMAGES[0], "height": 9.5}]},
            ValueError,
            "all.json: image 7: height: expected a whole .* 9.5",
        ),
        (
            {"images": [{**IMAGES[0], "height": True}]},
            ValueError,
            "all.json: image 7: height: expected a whole",
        ),
        (
            {"images": [{**IMAGES[0], "id": float("nan")}]},
            ValueError,
            "all.json: entry 0 of 'images': id: .*got nan",
        ),
        (
            {"images": [{**IMAGES[0], "id": None}]},
            ValueError,
            "all.json: entry 0 of 'images': id: .*got None",
        ),
        (
            {"images": [{**IMAGES[0], "id": [1]}]},
            ValueError,
            r"all.json: entry 0 of 'images': id: .*got \[1\]",
        ),
        (
            {"images": [IMAGES[0], {**IMAGES[1], "id": "3"}]},
            ValueError,
            "all.json: entry 1 of 'images': id: expected a whole number .*got '3'",
        ),
        (
            {"images": [None]},
            ValueError,
            "all.json: entry 0 of 'images': expected an object, got None",
        ),
        (
            {"images": [{**IMAGES[0], "file_name": "../../etc/passwd"}]},
            ValueError,
            "all.json: image 7: file_name '../../etc/passwd' leaves the folder",
        ),
        (
            {"images": [{**IMAGES[0], "file_name": "a\\..\\..\\b.jpg"}]},
            ValueError,
            "all.json: image 7: file_name .* leaves the folder",
        ),
        (
            {"images": [{**IMAGES[0], "file_name": "a\nb.jpg"}]},
            ValueError,
            "all.json: image 7: file_name: expected a text",
        ),
        (
            {"images": [{**IMAGES[0], "file_name": None}]},
            ValueError,
            "all.json: image 7: file_name: .*got None",
        ),
        (
            {"images": [{**IMAGES[0], "file_name": "a/."}, {**IMAGES[1], "file_name": "/"}]},
            ValueError,
            "names no file",
        ),
        (
            {"images": [IMAGES[0], {**IMAGES[1], "file_name": IMAGES[0]["file_name"]}]},
            ValueError,
            "all.json: image 3: file_name 'v1/7.jpg' is that of image 7 too",
        ),
        ({"annotations": None}, ValueError, "all.json: annotations: expected a list, got None"),
        (
            {"annotations": [None]},
            ValueError,
            "all.json: annotation 0: expected an object, got None",
        ),
        (
            {
                "annotations": [
                    {"id": 4, "image_id": 7, "category_id": 1},
                    {"id": 4, "image_id": 9, "category_id": 1},
                ]
            },
            ValueError,
            r"all.json: annotation id 4 \(image 9\) occurs more than once",
        ),
        (
            {"annotations": [{"id": [], "image_id": 7}]},
            ValueError,
            r"all.json: annotation 0 \(image 7\): id: expected",
        ),
        (
            {"annotations": [{"image_id": [7], "category_id": 1}]},
            TypeError,
            r"all.json: an image id is .* got \[7\]",
        ),
        (
            {"annotations": [{"image_id": True, "category_id": 1}]},
            KeyError,
            "all.json: 1 image ids .* first True",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": [1]}]},
            ValueError,
            r"all.json: image 7: category \[1\]",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": 1, "bbox": [0.5, 0, 10**400, 1]}]},
            ValueError,
            "all.json: image 7: box",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": 1, "segmentation": {"size": 5}}]},
            ValueError,
            "all.json: image 7: a mask of 5",
        ),
        (
            {"annotations": [{"image_id": 8, "category_id": 1}]},
            KeyError,
            "all.json: 1 image ids are not in .*, first 8",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": 2}]},
            ValueError,
            r"all.json: image 7: category 2 is not one of \[1, 5\]",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": 1, "bbox": [60, 0, 9, 9]}]},
            ValueError,
            "image 7: box .* does not lie inside 64 x 32 pixels",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": 1, "bbox": [6, 0, float("nan"), 9]}]},
            ValueError,
            "image 7: box",
        ),
        (
            {
                "annotations": [
                    {"image_id": 7, "category_id": 1, "segmentation": {"size": [64, 32]}}
                ]
            },
            ValueError,
            r"image 7: a mask of \[64, 32\]",
        ),
    ],
)
def test_bad_instances_name_file_and_image(tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        CocoPool.from_coco(write(tmp_path / "all.json", **change))


def test_only_regular_files_of_a_stated_size_are_opened(tmp_path):
    every = write(tmp_path / "all.json")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe: not a regular file"):
        CocoPool.from_coco(tmp_path / "pipe")
    for name in ("labeled", "features"):
        with pytest.raises(OSError, match="pipe: not a regular file"):
            CocoPool.from_coco(every, **{name: tmp_path / "pipe"})
    with pytest.raises(OSError, match="not a regular file"):
        CocoPool.from_coco(tmp_path)
    with (tmp_path / "large.json").open("wb") as f:
        f.truncate(8 * 2**30 + 1)  # holds no byte on disk
    with pytest.raises(
        ValueError, match="large.json: expected at most 8,589,934,592 bytes, got 8,589,934,593"
    ):
        CocoPool.from_coco(tmp_path / "large.json")
    (tmp_path / "deep.json").write_text("[" * 200000)
    with pytest.raises(ValueError, match="deep.json: not a JSON file"):
        CocoPool.from_coco(tmp_path / "deep.json")
    (tmp_path / "f.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "f.npz").write_bytes(b"PK\x03\x04")
    for name in ("f.npy", "f.npz"):
        with pytest.raises(ValueError, match=f"{name}: not an .npy or .npz file"):
            CocoPool.from_coco(every, features=tmp_path / name)
    np.savez(tmp_path / "g.npz", ids=np.array([9, 7, 3]))
    with pytest.raises(ValueError, match="g.npz: expected the arrays 'ids' and 'features'"):
        CocoPool.from_coco(every, features=tmp_path / "g.npz")
    np.savez(tmp_path / "h.npz", ids=np.array([9, 7, 3, 3]), features=np.ones((4, 2)))
    with pytest.raises(
        ValueError, match="h.npz: expected one row of features for each of 4 distinct ids"
    ):
        CocoPool.from_coco(every, features=tmp_path / "h.npz")


def test_a_pool_is_shown_in_one_line(tmp_path):
    pool = CocoPool.from_coco(write(tmp_path / "all.json"), labeled=[9])
    source = str(tmp_path / "all.json")
    assert (
        repr(pool)
        == f"CocoPool(size=3, selected=1, candidates=2, classes=['tree', 'nut'], source={source!r})"
    )
    assert repr(Pool(1000, selected=range(100))) == "Pool(size=1000, selected=100, candidates=900)"
    many = [{"id": k, "name": f"c{k}"} for k in range(80)]
    pool = CocoPool.from_coco(write(tmp_path / "all.json", categories=many))
    assert "'c4', and 75 more]" in repr(pool)


def test_numbers_that_are_whole_are_whole(tmp_path):
    images = [{**IMAGES[0], "id": 7.0, "width": 64.0}, IMAGES[1]]
    pool = CocoPool.from_coco(write(tmp_path / "all.json", images=images))
    assert pool.ids.tolist() == [7, 3]
    assert pool.ids.dtype == np.int64
    assert pool.sizes[0].tolist() == [64, 32]


def test_groups_of_one_kind(tmp_path):
    for bad in (None, ["a"], 3, float("nan")):
        images = [IMAGES[0], {**IMAGES[1], "video_id": bad}]
        with pytest.raises(
            ValueError, match="all.json: image 3: video_id: expected a text or a number"
        ):
            CocoPool.from_coco(write(tmp_path / "all.json", images=images), groups="video_id")


def test_other_files_that_do_not_fit(tmp_path):
    every = write(tmp_path / "all.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ValueError, match="no COCO instances file"):
        CocoPool.from_coco(tmp_path / "list.json")
    with pytest.raises(ValueError, match="image 7 has no 'scene'"):
        CocoPool.from_coco(every, groups="scene")
    with pytest.raises(ValueError, match=r"features: expected \(3, D\), one row per image"):
        CocoPool.from_coco(every, features=np.ones((2, 4)))
    with pytest.raises(KeyError, match="labeled: 1 image ids are not in .*, first 4"):
        CocoPool.from_coco(every, labeled=[4])
    with pytest.raises(ValueError, match=r"labeled.json: categories \{1: 'nut'\} do not match"):
        CocoPool.from_coco(
            every, labeled=write(tmp_path / "labeled.json", categories=[{"id": 1, "name": "nut"}])
        )
    with pytest.raises(ValueError, match="image 7 is 'other.jpg' here and 'v1/7.jpg' in"):
        CocoPool.from_coco(
            every,
            labeled=write(tmp_path / "labeled.json", images=[{"id": 7, "file_name": "other.jpg"}]),
        )
