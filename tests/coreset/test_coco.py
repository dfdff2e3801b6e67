import json

import numpy as np
import pytest

from coreset import Pool
from coreset.coco import positions

IMAGES = [
    {"id": i, "file_name": f"v{i % 2}/{i}.jpg", "width": 64, "height": 32, "video_id": f"v{i % 2}"} for i in (7, 3, 9)
]
CATEGORIES = [{"id": 1, "name": "tree"}, {"id": 5, "name": "nut"}]


def write(path, **change):
    path.write_text(json.dumps({"images": IMAGES, "categories": CATEGORIES, "annotations": [], **change}))
    return path


def test_ids_sizes_groups_and_labels(tmp_path):
    labeled = write(
        tmp_path / "labeled.json",
        images=IMAGES[1:2],
        annotations=[{"image_id": 3, "category_id": 5, "bbox": [0, 0, 64, 32]}],
    )
    features = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.save(tmp_path / "f.npy", features)
    pool = Pool.from_coco(write(tmp_path / "all.json"), labeled=labeled, features=tmp_path / "f.npy", groups="video_id")
    assert pool.ids.tolist() == [7, 3, 9]
    assert pool.selected.tolist() == [1]
    assert pool.candidates.tolist() == [0, 2]
    assert pool.sizes.tolist() == [[64, 32]] * 3
    assert pool.groups.tolist() == ["v1", "v1", "v1"]
    assert dict(pool.categories) == {1: "tree", 5: "nut"}
    np.testing.assert_array_equal(pool.features, features)
    assert isinstance(pool.features, np.memmap)
    assert Pool.from_coco(tmp_path / "all.json", labeled=[9, 7]).selected.tolist() == [2, 0]


def test_features_with_ids_are_put_in_order(tmp_path):
    np.savez(tmp_path / "f.npz", ids=np.array([9, 7, 3]), features=np.array([[9.0], [7.0], [3.0]]))
    pool = Pool.from_coco(write(tmp_path / "all.json"), features=tmp_path / "f.npz")
    assert pool.features[:, 0].tolist() == [7, 3, 9]
    np.savez(tmp_path / "g.npz", ids=np.array([9, 7]), features=np.ones((2, 1)))
    with pytest.raises(KeyError, match=r"g.npz: no features for 1 images of .*all.json, first 3"):
        Pool.from_coco(tmp_path / "all.json", features=tmp_path / "g.npz")


def test_names_paths_and_stems_find_an_image_where_only_one_has_them(tmp_path):
    images = [
        {**IMAGES[0], "id": i, "file_name": name}
        for i, name in ((1, "a/x.jpg"), (2, "b/x.jpg"), (3, "c/y.jpg"), (4, "z.jpg"))
    ]
    pool = Pool.from_coco(write(tmp_path / "all.json", images=images))
    assert positions(pool, ["b/x.jpg", "y", "/data/z.png", 1], "names").tolist() == [1, 2, 3, 0]
    assert positions(pool, ["/data/b/x.jpg", "/data/x/c/y.jpg"], "names").tolist() == [1, 2]
    with pytest.raises(KeyError, match="names: 1 image ids are not in .*all.json, first 'x'"):
        positions(pool, ["x"], "names")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"images": [IMAGES[0], IMAGES[0]]}, ValueError, "all.json: image id 7 occurs more than once"),
        ({"images": []}, ValueError, "all.json: holds no images"),
        ({"images": [{"file_name": "a.jpg"}]}, ValueError, "all.json: entry 0 of 'images' has no 'id'"),
        (
            {"categories": [{"id": 1}]},
            ValueError,
            "all.json: entry 0 of 'categories': expected a whole number 'id' and",
        ),
        ({"annotations": [{"category_id": 1}]}, ValueError, "all.json: annotation 0 has no 'image_id'"),
        ({"annotations": [{"image_id": 7, "category_id": 1, "bbox": None}]}, ValueError, "image 7: box None"),
        ({"annotations": [{"image_id": 7, "category_id": 1, "bbox": [1, 2, "3", 4]}]}, ValueError, "image 7: box"),
        ({"images": [{"id": 7, "file_name": "a.jpg", "width": 3}]}, ValueError, "all.json: image 7 has no 'height'"),
        ({"categories": [CATEGORIES[0]] * 2}, ValueError, "a category id occurs more than once"),
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
            {"annotations": [{"image_id": 7, "category_id": 1, "segmentation": {"size": [64, 32]}}]},
            ValueError,
            r"image 7: a mask of \[64, 32\]",
        ),
    ],
)
def test_bad_instances_name_file_and_image(tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        Pool.from_coco(write(tmp_path / "all.json", **change))


def test_other_files_that_do_not_fit(tmp_path):
    every = write(tmp_path / "all.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ValueError, match="no COCO instances file"):
        Pool.from_coco(tmp_path / "list.json")
    with pytest.raises(ValueError, match="image 7 has no 'scene'"):
        Pool.from_coco(every, groups="scene")
    with pytest.raises(ValueError, match=r"features: expected \(3, D\), one row per image"):
        Pool.from_coco(every, features=np.ones((2, 4)))
    with pytest.raises(KeyError, match="labeled: 1 image ids are not in .*, first 4"):
        Pool.from_coco(every, labeled=[4])
    with pytest.raises(ValueError, match=r"labeled.json: categories \{1: 'nut'\} do not match"):
        Pool.from_coco(every, labeled=write(tmp_path / "labeled.json", categories=[{"id": 1, "name": "nut"}]))
    with pytest.raises(ValueError, match="image 7 is 'other.jpg' here and 'v1/7.jpg' in"):
        Pool.from_coco(every, labeled=write(tmp_path / "labeled.json", images=[{"id": 7, "file_name": "other.jpg"}]))
