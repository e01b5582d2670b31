"""What the demo is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ml_backend.errors import DemoError

SIMULATED_GALAXIES = 300


@dataclass(frozen=True)
class DemoOptions:
    """Options of ``galaxyloop demo``.

    Parameters
    ----------
    data_dir : Path
        Folder of everything the demo keeps.
    images : Path or None
        Folder of JPEG, PNG or FITS images; None: simulated galaxies, or those of `labels`.
    labels : Path or None
        CSV with ``id`` or ``file`` and a label column.
    label_column : str or None
        The label column; None: the first of ``label``, ``class``, ``class_name``.
    annotators : int
        Number of simulated people; 0: none.
    error_rate : float
        Share of wrong answers of simulated people, in [0, 1).
    votes : int or None
        End after so many submitted votes; None: go on until Ctrl-C.
    json : Path or None
        File for the learning curve.
    port, label_studio_port : int
        Ports on 127.0.0.1 of the backend and of Label Studio.
    most_people : int
        Most people who are asked about one galaxy; 1: one vote each until all have one.
    unequal : bool
        Simulated people differ in skill, from a third of `error_rate` to three times as much.
    seed : int
        Seed of the simulated galaxies, of the images held out and of wrong answers; >= 0.
    galaxies : int
        Number of simulated galaxies.
    """

    data_dir: Path = Path("galaxyloop-demo")
    images: Path | None = None
    labels: Path | None = None
    label_column: str | None = None
    annotators: int = 0
    error_rate: float = 0.05
    votes: int | None = None
    json: Path | None = None
    port: int = 9090
    label_studio_port: int = 8080
    seed: int = 0
    galaxies: int = SIMULATED_GALAXIES
    most_people: int = 1
    unequal: bool = False

    def __post_init__(self) -> None:
        if self.annotators < 0 or self.annotators > 50:
            raise DemoError(f"--annotators must be 0 to 50, not {self.annotators}.")
        if not 0 <= self.error_rate < 1:
            raise DemoError(f"--error-rate must be at least 0 and below 1, not {self.error_rate}.")
        if self.votes is not None and self.votes < 1:
            raise DemoError(f"--votes must be at least 1, not {self.votes}.")
        if self.votes is not None and not self.annotators:
            raise DemoError("--votes needs simulated people: add e.g. --annotators 3.")
        if self.annotators and self.images and not self.labels:
            raise DemoError(
                "Simulated people must know the answers: give a labels file with --labels."
            )
        if self.label_column is not None and self.labels is None:
            raise DemoError("--label-column needs --labels.")
        if self.json is not None and not self.measured:
            raise DemoError("--json needs known labels to measure on: add --labels.")
        if not 1 <= self.most_people <= 1000:
            raise DemoError(f"--most-people must be 1 to 1000, not {self.most_people}.")
        if self.unequal and self.annotators < 2:
            raise DemoError("--unequal needs simulated people: add e.g. --annotators 5.")
        if self.port == self.label_studio_port:
            raise DemoError(f"--port and --label-studio-port are both {self.port}.")
        if self.seed < 0:
            raise DemoError(f"--seed must be 0 or larger, not {self.seed}.")
        if self.galaxies < 12:
            raise DemoError(f"--galaxies must be at least 12, not {self.galaxies}.")

    def error_rate_of(self, number: int) -> float:
        """Return the share of wrong answers of one simulated person, counted from 0."""
        if not self.unequal:
            return self.error_rate
        step = 2 * number / (self.annotators - 1) - 1
        return float(min(self.error_rate * 3.0**step, 0.95))

    @property
    def measured(self) -> bool:
        """Whether a third of the images is held out to measure on."""
        return self.labels is not None or self.annotators > 0
