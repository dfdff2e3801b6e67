"""Images with captions in every form they come in: read, decided about, written back in the same
form.
"""

import io
import json
import shutil
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from coreset.curation import curate
from coreset.curation.operators.dedup import ExactDuplicates
from coreset.curation.operators.rules import ReadableImage
from coreset.curation.operators.threshold import Threshold
from coreset.curation.run import Settings
from coreset.scorers.image.hashes import ImageHashes
from coreset.scorers.image.images import Images
from coreset.scorers.length import Length

CAPTIONS = [
    "a red square",
    "two words",
    "",
    "a much longer caption of a thing",
    "copy of the first",
    "ein grüner Kreis",
]


def png(seed, side=12):
    out = io.BytesIO()
    Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)
    ).save(out, "PNG")
    return out.getvalue()


# the fifth is the first again, the last breaks off
PICTURES = [png(0), png(1), png(2), png(3), png(0), png(5)[:200]]
RECIPE = [
    Images([ImageHashes(min_texture=0)]), ReadableImage(), ExactDuplicates("pixel_hash"),
    Length("text", "characters"), Threshold("text_characters", low=1),
]  # fmt: skip


def as_jsonl(folder):
    (folder / "pics").mkdir()
    for i, data in enumerate(PICTURES):
        (folder / "pics" / f"{i}.png").write_bytes(data)
    rows = [{"id": str(i), "image": f"pics/{i}.png", "caption": c} for i, c in enumerate(CAPTIONS)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return folder / "rows.jsonl"


def as_tar(folder, pax=False):
    with tarfile.open(
        folder / "a.tar", "w", format=tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT
    ) as tar:
        for i, (data, caption) in enumerate(zip(PICTURES, CAPTIONS, strict=True)):
            name = f"part.é/{i}" if pax else f"part/{i}"
            for suffix, content in (
                ("PNG", data),
                ("txt", caption.encode()),
                ("json", json.dumps({"url": f"u{i}"}).encode()),
            ):
                info = tarfile.TarInfo(f"{name}.{suffix}")
                info.size, info.mtime = len(content), 1000 + i
                tar.addfile(info, io.BytesIO(content))
    return folder / "a.tar"


def as_coco(folder):
    as_jsonl(folder)
    (folder / "rows.jsonl").unlink()
    images = [
        {"id": 10 + i, "file_name": f"pics/{i}.png", "width": 12, "height": 12} for i in range(6)
    ]
    notes = [{"id": i, "image_id": 10 + i, "caption": c} for i, c in enumerate(CAPTIONS)]
    (folder / "captions.json").write_text(
        json.dumps({"info": {"year": 2014}, "images": images, "annotations": notes})
    )
    return folder / "captions.json"


def as_parquet(folder, wrapped=True):
    column = [{"bytes": d, "path": f"{i}.png"} if wrapped else d for i, d in enumerate(PICTURES)]
    pq.write_table(
        pa.table({"id": list("012345"), "image": column, "text": CAPTIONS}),
        folder / "a.parquet",
        row_group_size=2,
    )
    return folder / "a.parquet"


def run(source, out, **settings):
    return curate(RECIPE, source, out, settings=Settings(**settings))


def decisions(out):
    table = pq.read_table(out / "decisions.parquet").to_pylist()
    return {
        row["id"].rpartition("/")[2]: (
            row["state"],
            row["reason"],
            row["duplicate_of"] and row["duplicate_of"].rpartition("/")[2],
        )
        for row in table
        if row["id"] is not None
    }


EXPECTED = {
    "0": ("kept", None, None), "1": ("kept", None, None), "2": ("dropped", "text_characters below 1", None), "3": ("kept", None, None),
    "4": ("dropped", "exact duplicate", "0"), "5": ("dropped", "image truncated", None),
}  # fmt: skip


@pytest.mark.parametrize("form", [as_jsonl, as_tar, as_coco, as_parquet])
@pytest.mark.parametrize("partitions", [20_000, 2])
def test_the_same_pictures_in_every_form(tmp_path, form, partitions):
    folder = tmp_path / "in"
    folder.mkdir()
    source = form(folder)
    done = run(source, tmp_path / "out", partition_rows=partitions)
    assert done.manifest["schema"]["kind"] == "images"
    assert done.manifest["counts"] == {"rows": 6, "kept": 3, "dropped": 3, "rejected": 0}
    outcomes = decisions(tmp_path / "out")
    assert {k: (s, r or None, t) for k, (s, r, t) in outcomes.items()} == EXPECTED


def test_rows_come_back_in_their_form(tmp_path):
    for form in (as_jsonl, as_coco, as_parquet):
        folder, out = tmp_path / form.__name__, tmp_path / f"{form.__name__}-out"
        folder.mkdir()
        source = form(folder)
        run(source, out)
        written = out / "data" / source.name
        if form is as_jsonl:
            lines = source.read_bytes().splitlines(keepends=True)
            assert written.read_bytes() == lines[0] + lines[1] + lines[3]
        elif form is as_coco:
            before, after = json.loads(source.read_text()), json.loads(written.read_text())
            assert after["annotations"] == [before["annotations"][i] for i in (0, 1, 3)]
            assert after["images"] == [before["images"][i] for i in (0, 1, 3)]
            assert after["info"] == before["info"]
        else:
            assert pq.read_table(written).equals(pq.read_table(source).take([0, 1, 3]))


@pytest.mark.parametrize("pax", [False, True])
def test_members_of_a_tar_shard_are_copied_byte_for_byte(tmp_path, pax):
    source = as_tar(tmp_path, pax)
    run(source, tmp_path / "out")

    def members(path):
        with tarfile.open(path) as tar:
            return [(m.name, m.mtime, tar.extractfile(m).read()) for m in tar]

    before = members(source)
    assert members(tmp_path / "out/data/a.tar") == before[0:6] + before[9:12]
    assert (tmp_path / "out/data/a.tar").stat().st_size % tarfile.RECORDSIZE == 0


def test_webdataset_style_oddities(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in [
            ("00/a.jpg", png(0)), ("00/a.txt", b"one"),
            ("00/b.txt", b"no picture"),
            ("00/c.left.png", png(1)), ("00/c.right.png", png(2)), ("00/c.txt", b"two pictures"),
            ("00/d.png", png(3)), ("00/d.json", b"{broken"),
            ("00/e.png", png(4)), ("00/e.txt", b"\xff\xfe"),
            ("00/f.png", png(5)), ("00/f.png", png(6)),
            ("00/g.png", png(7)), ("00/g.json", b'{"text": "in json", "n": 3}'),
        ]:  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    done = run(tmp_path / "a.tar", tmp_path / "out")
    assert done.manifest["counts"] == {"rows": 7, "kept": 2, "dropped": 0, "rejected": 5}
    assert done.manifest["rejects"] == {
        "missing_field": 1,
        "mixed_schema": 1,
        "not_json": 1,
        "several_images": 1,
        "wrong_encoding": 1,
    }
    assert sorted(
        k for k, (state, _, _) in decisions(tmp_path / "out").items() if state == "kept"
    ) == ["a", "g"]


@pytest.mark.parametrize("share", [0.35, 0.6, 0.95])
def test_a_tar_shard_that_breaks_off_loses_nothing_before(tmp_path, share):
    whole = as_tar(tmp_path).read_bytes()
    used = len(whole.rstrip(b"\0"))
    (tmp_path / "a.tar").write_bytes(whole[: int(share * used)])
    done = run(tmp_path / "a.tar", tmp_path / "out")
    counts = done.manifest["counts"]
    assert 0 < counts["rows"] < 6
    assert done.manifest["rejects"] == {"unreadable_shard": 1}
    assert "breaks off" in done.manifest["input"][0]["broken"]


def test_what_is_no_coco_file(tmp_path):
    for content, words in (
        ('{"a": 1}', "without a list 'images'"),
        ('{"a": 1}\n{"a": 2}', "is a .jsonl file"),
        ('{"a": ', "no JSON"),
    ):
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(ValueError, match=words):
            run(tmp_path / "x.json", tmp_path / "out")
    notes = [
        {"id": 1, "image_id": 5, "caption": "a"},
        {"id": 2, "image_id": 9, "caption": "b"},
        "odd",
        {"id": 3, "image_id": 5},
    ]
    (tmp_path / "x.json").write_text(
        json.dumps({"images": [{"id": 5, "file_name": "a.png"}], "annotations": notes})
    )
    (tmp_path / "a.png").write_bytes(png(0))
    done = run(tmp_path / "x.json", tmp_path / "out2")
    assert done.manifest["rejects"] == {"missing_field": 1, "not_an_object": 1}


def test_conversations_with_and_without_an_image(tmp_path):
    (tmp_path / "a.png").write_bytes(png(0))
    turns = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "Noise."}]
    rows = [
        {"id": "1", "image": "a.png", "conversations": turns}, {"id": "2", "conversations": turns},
        {"id": "3", "images": ["a.png", "a.png"], "conversations": turns}, {"id": "4", "images": ["a.png", "b.png"], "conversations": turns},
        {"id": "5", "image": 7, "conversations": turns}, {"id": "6", "images": [], "conversations": turns},
    ]  # fmt: skip
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    done = curate([Images(), Length("response")], tmp_path / "rows.json", tmp_path / "out")
    assert done.manifest["schema"]["kind"] == "chat"
    assert done.manifest["rejects"] == {"several_images": 1, "wrong_type": 1}
    table = {r["id"]: r for r in pq.read_table(tmp_path / "out/decisions.parquet").to_pylist()}
    assert {k: table[k]["image_status"] for k in "1236"} == {
        "1": "ok",
        "2": "missing_field",
        "3": "ok",
        "6": "missing_field",
    }


def test_a_folder_of_images_elsewhere(tmp_path):
    (tmp_path / "in").mkdir()
    source = as_jsonl(tmp_path / "in")
    shutil.move(tmp_path / "in/pics", tmp_path / "pics")
    assert run(source, tmp_path / "here").manifest["counts"]["kept"] == 0
    assert run(source, tmp_path / "there", images=str(tmp_path)).manifest["counts"]["kept"] == 3


def test_names_of_the_content_do_not_hang_on_the_place(tmp_path):
    runs = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        source = as_parquet(folder, wrapped=False)
        table = pq.read_table(source).drop_columns(["id"])
        pq.write_table(table, source)
        run(source, tmp_path / f"{name}-out")
        runs.append(decisions(tmp_path / f"{name}-out"))
    assert runs[0] == runs[1]
    assert len(runs[0]) == 6


def test_repeating_rows_that_have_names_is_refused(tmp_path):
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Twice:
        needs = frozenset({"text"})
        gives = frozenset({"repeat"})

        def __call__(self, batch):
            return {"repeat": np.full(len(batch["text"]), 2)}

    with pytest.raises(
        ValueError, match=r"a.tar: row 1 is to be repeated, but rows of a tar file have names"
    ):
        curate([Twice()], as_tar(tmp_path), tmp_path / "out")


def members(*given, pax=None):
    """Return a tar file of (name, content) and ready-made TarInfos."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers=pax) as tar:
        for one in given:
            if isinstance(one, tarfile.TarInfo):
                tar.addfile(one)
                continue
            info = tarfile.TarInfo(one[0])
            info.size = len(one[1])
            tar.addfile(info, io.BytesIO(one[1]))
    return out.getvalue()


def special(name, kind, to="/etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


UNSAFE = [
    "../../x", "/x", "a/../../x", "../x", "//x", "..\\..\\x", "C:\\x", "\\x", "a\nb", "a\x1b[2Jb", "/" + "d/" * 60 + "long", "../" * 50 + "long",
]  # fmt: skip
KINDS = {"symlink": tarfile.SYMTYPE, "stage": tarfile.LNKTYPE, "pipe": tarfile.FIFOTYPE, "device": tarfile.CHRTYPE, "disk": tarfile.BLKTYPE}  # fmt: skip


def curated(tmp_path, data):
    (tmp_path / "a.tar").write_bytes(data)
    done = run(tmp_path / "a.tar", tmp_path / "out")
    with tarfile.open(tmp_path / "out/data/a.tar") as tar:
        return done.manifest, list(tar)


@pytest.mark.parametrize("name", UNSAFE)
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    data = members(
        ("good.png", png(0)), ("good.txt", b"x"), (f"{name}.png", png(1)), (f"{name}.txt", b"y")
    )
    manifest, kept = curated(tmp_path, data)
    assert manifest["rejects"] == {"unsafe_member": 1}
    assert [m.name for m in kept] == ["good.png", "good.txt"]


@pytest.mark.parametrize("kind", KINDS)
def test_links_and_devices_are_never_written(tmp_path, kind):
    """Beside a row, and inside one: between the members of a row that is kept nothing else is
    copied.
    """
    data = members(
        ("a.png", png(0)), special("sub", tarfile.DIRTYPE), ("a.txt", b"x"), special("evil", KINDS[kind]),
        ("b.png", png(1)), special("b.link", KINDS[kind]), ("b.txt", b"y"), special("c.png", KINDS[kind]), ("c.txt", b"z"),
    )  # fmt: skip
    manifest, kept = curated(tmp_path, data)
    assert manifest["rejects"] == {"unsafe_member": 3}
    assert [m.name for m in kept] == ["a.png", "a.txt"]
    assert all(m.isfile() for m in kept)


def test_a_row_is_not_written_over_by_a_later_one(tmp_path):
    one, two = (json.dumps({"id": n}).encode() for n in ("1", "2"))
    data = members(("a.png", png(0)), ("a.txt", b"x"), ("a.json", one), ("b.png", png(1)), ("b.txt", b"y"), ("b.json", two),
                   ("a.png", png(2)), ("a.txt", b"z"), ("a.json", json.dumps({"id": "3"}).encode()))  # fmt: skip
    manifest, kept = curated(tmp_path, data)
    assert manifest["rejects"] == {"duplicate_id": 1}
    names = [m.name for m in kept]
    assert (
        names
        == sorted(set(names), key=names.index)
        == ["a.png", "a.txt", "a.json", "b.png", "b.txt", "b.json"]
    )


def test_names_out_of_one_header_for_all_are_refused(tmp_path):
    data = members(("../../x.png", png(0)), ("../../x.txt", b"x"), pax={"path": "good.png"})
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(ValueError, match="a header for all members"):
        run(tmp_path / "a.tar", tmp_path / "out")
    manifest, kept = curated(
        tmp_path, members(("a.png", png(0)), ("a.txt", b"x"), pax={"comment": "made today"})
    )
    assert (manifest["counts"]["kept"], len(kept)) == (1, 2)


def test_what_is_written_unpacks_inside_its_folder(tmp_path):
    given = [(f"{name}.png", png(i)) for i, name in enumerate(UNSAFE)] + [special("l", tarfile.SYMTYPE, ".."), ("ok/a.png", png(99)), ("ok/a.txt", b"x")]  # fmt: skip
    curated(tmp_path, members(*given))
    inside = tmp_path / "unpacked/deep/er"
    inside.mkdir(parents=True)
    with tarfile.open(tmp_path / "out/data/a.tar") as tar:
        tar.extractall(inside, filter="fully_trusted")
    written = sorted(
        str(p.relative_to(tmp_path / "unpacked"))
        for p in (tmp_path / "unpacked").rglob("*")
        if p.is_file()
    )
    assert written == ["deep/er/ok/a.png", "deep/er/ok/a.txt"]
