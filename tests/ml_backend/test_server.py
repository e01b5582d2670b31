"""Serving: where its threads run."""

import os
import sys
import threading

import pytest

from ml_backend.server import stay_on_one_processor


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be told")
def test_threads_begun_later_stay_on_the_same_processor() -> None:
    seen: list[set[int]] = []

    def begin_another() -> None:
        stay_on_one_processor()
        inner = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))
        inner.start()
        inner.join()

    before = os.sched_getaffinity(0)
    outer = threading.Thread(target=begin_another)
    outer.start()
    outer.join()
    assert seen == [{max(before)}]
    assert os.sched_getaffinity(0) == before, "other threads of this process are left alone"
