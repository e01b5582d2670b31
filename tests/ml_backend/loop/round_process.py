"""Runs one round in a process of its own, which can be killed at a named point.

Called as ``round_process.py DATA STATE POINT`` by the tests.
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from stand_ins import Sky, StandIn, settings_of, tiny_lvm

from ml_backend.loop.rounds import RoundContext, run_round
from ml_backend.store.database import open_store

data, state, point = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]


def progress(share: float, message: str) -> None:
    if point.startswith("message ") and message.startswith(point.removeprefix("message ")):
        os.kill(os.getpid(), signal.SIGKILL)


store = open_store(settings_of(data))
run_round(RoundContext(store, StandIn(state, point), Sky(), tiny_lvm, progress=progress), 1)
print("ended")
