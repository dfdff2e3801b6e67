"""Hostile files through every door: none is run, none hangs, none takes the memory, and each is
named.
"""

import io
import json
import os
import re
import socket
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile_images import encode, eps, gif, hostile, linked_tiff
from PIL import Image, UnidentifiedImageError

from coreset.curation import curate
from coreset.curation.operators.rules import ReadableImage
from coreset.report.pictures import pictures_html
from coreset.scorers.image import files
from coreset.scorers.image.decode import decode
from coreset.scorers.image.files import DistillationContext, NotAFile, TooLarge, open_image
from coreset.scorers.image.hashes import ImageHashes
from coreset.scorers.image.images import Images
from coreset.trainers.data.coco import coco_folder
from coreset.trainers.data.folder import image_folder

ROOT = Path(__file__).parents[4]
PROGRAMS = ("eps-writes", "eps-pipe", "eps-loop", "eps-dos-writes", "eps-dos-loop", "eps-of-pillow")


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """A file that is written when a program inside an image is run: by Ghostscript, or by what
    stands here in its place where it is not installed.
    """
    from PIL import EpsImagePlugin

    trace = tmp_path / "was-run"
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("gs", "gswin64c", "convert", "magick", "rsvg-convert", "inkscape", "pdftoppm"):
        (programs / name).write_text(f"#!/bin/sh\ntouch {trace}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # looked for anew
    yield trace
    assert not trace.exists(), "a program inside an image was run"


def good(seed):
    return encode(
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 40, 3)).astype(np.uint8)),
        "PNG",
    )


CHILD = """
import json, resource, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from coreset.scorers.image.decode import decode
def used(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
decode(sys.argv[0]); before, out = used(), {}
for path in sorted(Path(sys.argv[2]).iterdir()):
    start = time.process_time()
    out[path.name] = (decode(str(path)).status, time.process_time() - start)
print(json.dumps({"out": out, "kib": used() - before}))
"""


def test_what_is_said_of_each_and_what_it_costs(tmp_path, marker):
    """One process of its own: the status of each, at most some seconds and a fixed amount of
    memory.
    """
    folder = tmp_path / "files"
    folder.mkdir()
    samples = hostile(marker)
    assert len(samples) >= 100
    for name, (data, _) in samples.items():
        (folder / f"{name}.jpg").write_bytes(data)
    done = subprocess.run([sys.executable, "-c", CHILD, str(Path(__file__).parent), str(folder)], capture_output=True, text=True, timeout=240, check=True)  # fmt: skip
    result = json.loads(done.stdout.splitlines()[-1])
    wrong = {
        n: result["out"][f"{n}.jpg"]
        for n, (_, right) in samples.items()
        if result["out"][f"{n}.jpg"][0] not in right
    }
    assert not wrong
    slow = {n: seconds for n, (_, seconds) in result["out"].items() if seconds > 10}
    assert not slow
    assert result["kib"] < 400_000
    assert all(result["out"][f"{n}.jpg"][0] == "not_an_image" for n in PROGRAMS)


def test_programs_are_refused_by_name(marker):
    for name, (data, _) in hostile(marker).items():
        if name.startswith(("eps", "ps", "pdf", "svg", "wmf", "emf")):
            with (
                pytest.raises(UnidentifiedImageError, match="no image of the formats"),
                open_image(data),
            ):
                pass


@pytest.fixture
def strange(tmp_path):
    """Names of what is no file, with the error of each."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "random.png").symlink_to("/dev/urandom")
    (tmp_path / "to-pipe.png").symlink_to(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "absent.png")
    server = socket.socket(socket.AF_UNIX)
    before = Path.cwd()
    os.chdir(tmp_path)  # a socket's name is short
    server.bind("socket.png")
    os.chdir(before)
    out = dict.fromkeys(("pipe", "zero", "random", "to-pipe", "socket"), NotAFile)
    out |= {"folder": IsADirectoryError, "loop": OSError, "nowhere": FileNotFoundError}
    yield {**{str(tmp_path / f"{n}.png"): e for n, e in out.items()}, "/dev/zero": NotAFile, "/dev/tty": OSError,
           "a\0b.png": FileNotFoundError, "a" * 5000: OSError, "\udcff.png": OSError}  # fmt: skip
    server.close()


def soon(call):
    """Return what a call returns, or raises; AssertionError when it has not after some seconds."""
    held = []

    def work():
        try:
            held.append(call())
        except Exception as error:
            held.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(30)
    assert held, "it hangs"
    return held[0]


def test_only_regular_files(strange, tmp_path):
    for name, error in strange.items():
        for asked in (name, f"{name}@0+100"):
            decoded = soon(lambda asked=asked: decode(asked))
            assert decoded.pixels is None
            assert decoded.status in ("not_a_file", "missing_file")
            assert (decoded.status == "not_a_file") == (error is NotAFile) or error is OSError, (
                asked,
                decoded.status,
            )

        def opened(name=name):
            with open_image(Path(name)) as image:
                return image

        assert isinstance(soon(opened), error), name
    (tmp_path / "real").write_bytes(good(0))
    (tmp_path / "link.png").symlink_to(tmp_path / "real")
    assert decode(str(tmp_path / "link.png")).status == "ok"  # a link to a file is a file


def test_bytes_and_pixels_have_limits(tmp_path, monkeypatch):
    data = good(0)
    (tmp_path / "a.png").write_bytes(data)
    with (
        pytest.raises(TooLarge, match=r"40 x 40 pixels, more than 1599"),
        open_image(data, most_pixels=1599),
    ):
        pass
    monkeypatch.setattr(files.read_bytes, "__defaults__", (len(data) - 1,))
    for image in (data, str(tmp_path / "a.png"), f"{tmp_path}/a.png@0+{len(data)}"):
        assert decode(image).status == "too_large"
    monkeypatch.setattr(files.read_bytes, "__defaults__", (len(data),))
    assert decode(str(tmp_path / "a.png")).status == "ok"
    assert decode(f"{tmp_path}/a.png@{10**30}+5").status == "empty_file"
    assert decode(f"{tmp_path}/a.png@0+{10**30}").status == "too_large"


def test_frames_are_counted_to_an_end():
    assert decode(gif(3)).frames == 3
    assert decode(gif(1700)).frames == 1700
    assert decode(linked_tiff(1)).frames == 1
    assert decode(linked_tiff(7)).frames == 7
    assert decode(linked_tiff(1234)).frames == 1234
    assert decode(linked_tiff(4, loop=True)).frames == 4
    assert decode(linked_tiff(2000, loop=True)).frames == 2000
    many = files.MOST_FRAMES + 50
    assert decode(gif(many)).frames == files.MOST_FRAMES
    for form, several in (("PNG", 4), ("WEBP", 4)):
        shown = [Image.fromarray(np.full((5, 5, 3), v, np.uint8)) for v in (10, 200, 90, 3)]
        decoded = decode(encode(shown[0], form, save_all=True, append_images=shown[1:]))
        assert (decoded.frames, decoded.status) == (several, "ok")


def test_room_is_shared_by_all_threads():
    room, most, inside = DistillationContext(100), [0], []

    def work(amount):
        # again in the same thread: it does not wait for itself
        with room.hold(amount), room.hold(amount):
            inside.append(amount)
            most[0] = max(most[0], room.taken)

    threads = [threading.Thread(target=work, args=(a,)) for a in (60, 60, 10**9, 30, 99, 1) * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(inside) == len(threads)
    assert most[0] <= 100
    assert room.taken == 0


def test_a_folder_decodes_so_many_pixels_at_a_time(tmp_path, monkeypatch):
    from coreset.trainers.data import decode as module

    for i in range(24):
        folder = tmp_path / "pool" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i:02d}.png").write_bytes(good(i))  # 1,600 pixels
    room, seen, real = DistillationContext(4000), [], module.square
    monkeypatch.setattr(module, "decoding", room)
    monkeypatch.setattr(
        module, "square", lambda image, size: seen.append(room.taken) or real(image, size)
    )
    monkeypatch.setattr(module.os, "cpu_count", lambda: 8)
    image_folder(str(tmp_path / "pool"), size=8, cache=str(tmp_path / "cache"))
    assert len(seen) == 24
    assert 1600 <= min(seen) <= max(seen) <= 4000


LARGE = """
import io, resource, sys
import numpy as np
from PIL import Image
from coreset.scorers.image.images import Images
from coreset.scorers.image.hashes import ImageHashes
from coreset.core.batch import objects
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = Images([ImageHashes()])({"image": objects([sys.argv[1]] * 4)})
assert found["image_status"].tolist() == ["ok"] * 4
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_large_images_are_held_one_at_a_time(tmp_path):
    """36 megapixels each, with transparency: 4 bytes a pixel in Pillow, 3 in the array, and what a
    hash takes of them; two of them at once would be more.
    """
    image = Image.new("RGBA", (6000, 6000), (10, 200, 30, 128))
    image.paste((200, 10, 10, 255), (0, 0, 3000, 2000))
    image.save(tmp_path / "a.png", compress_level=1)
    done = subprocess.run([sys.executable, "-c", LARGE, str(tmp_path / "a.png")], capture_output=True, text=True, check=True)  # fmt: skip
    assert int(done.stdout) < 13 * 36_000  # KiB


@pytest.mark.filterwarnings("default")
def test_a_folder_of_images(tmp_path, marker, strange):
    samples = hostile(marker)
    for name, (data, _) in samples.items():
        folder = tmp_path / "pool" / "ab"[len(name) % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.jpg").write_bytes(data)
    for i in range(6):
        (tmp_path / "pool" / "ab"[i % 2] / f"good{i}.png").write_bytes(good(i))
    (tmp_path / "pool/a/pipe.png").symlink_to(tmp_path / "pipe.png")
    (tmp_path / "pool/a/zero.png").symlink_to("/dev/zero")
    with pytest.warns(UserWarning, match="images cannot be read"):
        data = soon(
            lambda: image_folder(
                str(tmp_path / "pool"), size=8, on_corrupt="skip", cache=str(tmp_path / "cache")
            )
        )
    kept = {Path(n).stem for n in data.ids.tolist()} | {f"good{i}" for i in range(6)}
    assert len(data.images) + len(data.test_images) >= 6
    assert not kept & (set(PROGRAMS) | {"pipe", "zero", "svg", "pdf"})
    with pytest.raises(ValueError, match=r"images cannot be read, first: .*Repair or remove them"):
        soon_raised(
            lambda: image_folder(str(tmp_path / "pool"), size=8, cache=str(tmp_path / "other"))
        )


def soon_raised(call):
    outcome = soon(call)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def test_a_coco_folder(tmp_path, marker):
    (tmp_path / "images").mkdir()
    notes = {"categories": [{"id": 1, "name": "x"}], "annotations": []}
    for name, data in (("a", good(0)), ("b", eps(f"({marker}) (w) file closefile".encode()))):
        (tmp_path / "images" / f"{name}.jpg").write_bytes(data)
        about = {"id": 1, "file_name": f"{name}.jpg", "width": 40, "height": 40}
        part = "train" if name == "a" else "test"
        (tmp_path / f"{part}.json").write_text(json.dumps({**notes, "images": [about]}))
    with pytest.raises(
        ValueError, match=r"1 of 2 images cannot be read, first: .*b.jpg \(UnidentifiedImageError"
    ):
        coco_folder(str(tmp_path), cache=str(tmp_path / "cache"))


@pytest.mark.parametrize("form", ["path", "tar", "parquet"])
def test_a_curation(tmp_path, marker, form):
    """Every row is decided about, the good ones are kept, and those that are no images go with
    their status.
    """
    samples = {n: d for n, (d, right) in hostile(marker).items() if right == ("not_an_image",)}
    samples |= {f"good{i}": good(i) for i in range(3)}
    folder = tmp_path / "in"
    folder.mkdir()
    if form == "parquet":
        source = folder / "a.parquet"
        pq.write_table(
            pa.table(
                {"id": list(samples), "image": list(samples.values()), "text": ["x"] * len(samples)}
            ),
            source,
        )
    elif form == "tar":
        source = folder / "a.tar"
        with tarfile.open(source, "w") as tar:
            for name, data in samples.items():
                for suffix, content in (("jpg", data), ("txt", b"x")):
                    info = tarfile.TarInfo(f"{name}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    else:
        source = folder / "a.jsonl"
        for name, data in samples.items():
            (folder / f"{name}.jpg").write_bytes(data)
        (folder / "pipe.jpg").symlink_to("/dev/zero")
        rows = [{"id": n, "image": f"{n}.jpg", "text": "x"} for n in [*samples, "pipe"]]
        source.write_text("".join(json.dumps(r) + "\n" for r in rows))
    done = soon_raised(
        lambda: curate(
            [Images([ImageHashes(min_texture=0)]), ReadableImage()], source, tmp_path / "out"
        )
    )
    counts = done.manifest["counts"]
    table = pq.read_table(tmp_path / "out/decisions.parquet").to_pylist()
    assert counts["rows"] == len(table) == len(samples) + (form == "path")
    assert {r["id"] for r in table if r["state"] == "kept"} == {"good0", "good1", "good2"}
    reasons = {r["reason"] for r in table if r["state"] == "dropped"}
    assert reasons == {"image not an image"} | ({"image not a file"} if form == "path" else set())


def test_the_pictures_of_a_report(tmp_path, marker):
    (tmp_path / "a.jpg").write_bytes(eps(b"{} loop"))
    rows = [{"id": n, "image": p, "preview": "x", "state": "kept", "reason": None}
            for n, p in (("a", str(tmp_path / "a.jpg")), ("b", "/dev/zero"))]  # fmt: skip
    outcome = {"state": "kept", "operator": "", "reason": "", "size": 2, "rows": rows}
    html = soon_raised(
        lambda: pictures_html(
            {"outcomes": [outcome], "groups": [], "entries": None, "map": None}, {}
        )
    )
    assert "<img" not in html
    assert "not an image" in html
    assert "not a file" in html


@pytest.mark.filterwarnings("ignore")
def test_image_columns_of_hugging_face(tmp_path, marker):
    datasets = pytest.importorskip("datasets", reason="the extra `hf` is not installed")
    from coreset.core.store import Store
    from coreset.trainers.data.hugging_face import convert

    large = encode(Image.effect_noise((900, 700), 80), "JPEG")
    turned = Image.Exif()
    turned[274] = 6
    phone = encode(Image.effect_noise((60, 40), 80).convert("RGB"), "JPEG", exif=turned)
    held = [
        good(0),
        eps(f"({marker}) (w) file closefile".encode()),
        large,
        eps(b"{} loop"),
        phone,
        good(1),
    ]
    (tmp_path / "path.png").write_bytes(good(2))
    rows = [{"bytes": d, "path": None} for d in held] + [
        {"bytes": None, "path": str(tmp_path / "path.png")}
    ]
    rows += [{"bytes": None, "path": "/dev/zero"}]
    storage = pa.array(rows, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    labels = pa.array([i % 2 for i in range(len(rows))], pa.int64())
    table = datasets.Dataset(
        datasets.table.InMemoryTable(pa.table({"image": storage, "label": labels}))
    )
    split = table.cast(features)
    store = Store(str(tmp_path / "cache"))

    def load():
        return convert(
            "x", {"train": split}, "image", "label", "train", None, 0.3, 16, "skip", "none", store
        )

    data = soon_raised(load)
    assert set(data.ids.tolist()) <= {0, 2, 4, 5, 6}
    assert len(data.images) + len(data.test_images) == 5
    from coreset.trainers.data.decode import square

    for at, i in enumerate(data.ids.tolist()):  # the pixels are those that `datasets` itself gives
        if rows[i]["bytes"] is not None:
            assert np.array_equal(data.images[at], square(split[i]["image"], 16))


OPENERS = re.compile(r"\bImage\.open\(|imread\(|read_image\(|decode_image\(|imageio|cv2\.imdecode")


def test_images_are_opened_in_one_place():
    openers = []
    for folder in ("coreset", "trainers", "strategies", "scripts"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            lines = path.read_text().splitlines()
            openers += [
                f"{path.relative_to(ROOT)}:{i}"
                for i, line in enumerate(lines, 1)
                if OPENERS.search(line)
            ]
    assert not [f for f in openers if not f.startswith("coreset/scorers/image/files.py")]
