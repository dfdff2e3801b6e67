"""Selection from files on Ray Data: the answers of the local engine, from a store as well, and what
goes through the process that asks.
"""

import os
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import coreset
from coreset.curation.engines.ray import RayData
from coreset.curation.from_files.select import select_from_files

pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = pytest.mark.slow


def write(folder, n, files=2, group=200, seed=0):
    """Files of probabilities, features, labels and ids in no order."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    probs = (rng.dirichlet(np.ones(3), n).astype(np.float32) + 0.01).round(2)
    probs /= probs.sum(1, keepdims=True)
    table = pa.table(
        {
            "probs": pa.FixedSizeListArray.from_arrays(probs.reshape(-1), 3),
            "features": pa.FixedSizeListArray.from_arrays(
                rng.normal(size=4 * n).astype(np.float32), 4
            ),
            "labels": rng.choice(3, n, p=[0.6, 0.3, 0.1]),
            "ids": [f"row {i}" for i in rng.permutation(n)],
        }
    )
    for i, part in enumerate(np.array_split(np.arange(n), files)):
        rows = table.slice(part[0], len(part))
        pq.write_table(rows, folder / f"{i}.parquet", row_group_size=group)
    return folder


@pytest.mark.parametrize(
    ("name", "options"),
    [("random", {}), ("margin", {}), ("class_quota", {}), ("kcenter", {}), ("uherding", {})],
)
def test_the_answer_of_the_local_engine(tmp_path, engine, name, options):
    folder = write(tmp_path / "in", 1200)
    more = {"columns": {}, "ids": "ids", "options": options, "partitions": 3}
    one = select_from_files(name, folder, 70, out=tmp_path / "local", **more)
    two = select_from_files(
        name, folder, 70, out=tmp_path / "ray", engine=engine, size=9000, chunk=30, **more
    )
    assert two.table().equals(one.table())
    assert two.info == one.info
    assert two.table()["id"].to_pylist() == one.table()["id"].to_pylist()


def test_what_passes_the_driver_does_not_grow_with_rows(tmp_path, engine):
    """A hundred times the rows in as many ranges: as many bytes, as much memory."""
    passed, peaks = [], []
    for n in (2_000, 200_000):
        folder = write(tmp_path / f"in-{n}", n, files=4, group=n // 8)
        here = RayData(workers=2)
        tracemalloc.start()
        done = coreset.select(
            "class_quota", folder, budget=0.1, out=tmp_path / f"out-{n}", engine=here, ids="ids"
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(done) == n // 10
        passed.append(sum(here.passed.values()))
    # a round more, and counts of up to 4096 bins a range
    assert passed[1] < 2 * passed[0] + 300_000
    assert passed[1] < 200_000 * 4  # fewer than half a number for every row
    assert peaks[1] < peaks[0] + 8 * 2**20


def test_from_a_store_to_a_store(tmp_path, engine, monkeypatch):
    moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    pytest.importorskip("s3fs", reason="the extra `stores` is not installed")
    import s3fs

    server = moto.ThreadedMotoServer(port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in (
            ("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x"),
            ("AWS_DEFAULT_REGION", "us-east-1"), ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ):  # fmt: skip
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        folder = write(tmp_path / "in", 1200)
        fs = s3fs.S3FileSystem()
        fs.mkdir("bucket")
        for path in folder.iterdir():
            fs.put_file(os.fspath(path), f"bucket/in/{path.name}")
        for name in ("margin", "kcenter"):
            want = coreset.select(name, folder, budget=50, out=tmp_path / name)
            got = coreset.select(
                name, "s3://bucket/in/*.parquet", budget=50, out=f"s3://bucket/{name}"
            )
            assert got.table().equals(want.table())
            again = coreset.select(
                name, "s3://bucket/in/*.parquet", budget=50, out=f"s3://bucket/{name}"
            )
            assert again.info == got.info
            left = sorted(p.rpartition("/")[2] for p in fs.find(f"bucket/{name}"))
            assert left == ["part-00000.parquet", "selection.json"]
        with pytest.raises(OSError, match="there is no bucket for s3://nowhere"):
            coreset.select("margin", "s3://nowhere/*.parquet", budget=5, out=tmp_path / "none")
    finally:
        server.stop()
        s3fs.S3FileSystem.clear_instance_cache()
