"""Workers end with the process that started them, even when it is killed."""

import multiprocessing
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor

import psutil
import pytest

from coreset.core.workers import end_with_parent


def killed(method, path):
    """Start two workers, write the number of one that waits for work, and die."""
    context = multiprocessing.get_context(method)
    pool = ProcessPoolExecutor(2, mp_context=context, initializer=end_with_parent)
    path.write_text(str(pool.submit(os.getpid).result()))
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_no_worker_outlives_a_killed_process(method, tmp_path):
    path = tmp_path / "worker"
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=killed, args=(method, path))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    worker, end = int(path.read_text()), time.monotonic() + 60
    while lives(worker):
        assert time.monotonic() < end, "the worker waits for work still"
        time.sleep(0.05)


def lives(number):
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_work_is_done_and_the_end_is_clean():
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, initializer=end_with_parent) as pool:
        assert list(pool.map(abs, range(-3, 0))) == [3, 2, 1]
        workers = list(pool._processes.values())
    assert [w.exitcode for w in workers] == [0] * len(workers)


def test_a_process_that_nobody_started_goes_on():
    end_with_parent()
