"""The images of one demo: found or simulated, split, and brought to where they are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ml_backend.demo.labels import (
    DemoImage,
    class_counts,
    folder_images,
    hold_out,
    read_labels,
)
from ml_backend.demo.options import DemoOptions
from ml_backend.demo.pictures import (
    SIMULATED_COLUMN,
    Picture,
    place,
    simulate_folder,
)
from ml_backend.demo.project import project_key
from ml_backend.errors import DemoError
from models.simulation import KINDS

Say = Callable[[str], None]
Bar = Callable[[str, int], Callable[[int], None]]


@dataclass(frozen=True)
class Collection:
    """The images of a demo.

    Parameters
    ----------
    key : str
        Digest of the images, labels, split and question: the same key is the same project.
    title : str
        For the project in Label Studio.
    question : str
        What is asked about each image.
    classes : tuple of str
        The choices.
    shown : tuple of DemoImage
        For the project.
    held : tuple of DemoImage
        Kept out of the project, to measure on.
    """

    key: str
    title: str
    question: str
    classes: tuple[str, ...]
    shown: tuple[DemoImage, ...]
    held: tuple[DemoImage, ...]

    def truth(self) -> dict[str, str]:
        """Return the known label per image key of the shown images."""
        return {image.key: image.label for image in self.shown if image.label is not None}


def collect(options: DemoOptions, simulated: Path, say: Say, bar: Bar) -> Collection:
    """Find, or simulate into the folder `simulated`, what the options ask for.

    Raises
    ------
    DemoError
        Labels or images are missing or cannot be used.
    """
    question, title = SIMULATED_COLUMN, "Galaxies"
    classes: tuple[str, ...] = KINDS
    images: tuple[DemoImage, ...]
    if options.labels is not None:
        labelled = read_labels(options.labels, options.label_column, options.images)
        images, classes, question = labelled.images, labelled.classes, labelled.question
        title = options.labels.resolve().parent.name or title
        if labelled.unlabelled:
            say(f"{labelled.unlabelled} rows without a label are left out.")
    elif options.images is not None:
        images = folder_images(options.images)
        title = options.images.resolve().name or title
    else:
        labels = simulated_labels(options, simulated, bar)
        images = read_labels(labels, SIMULATED_COLUMN).images
        title = "Simulated galaxies"
    shown, held = list(images), list[DemoImage]()
    if options.measured:
        shown, held = hold_out(images, options.seed)
        say(f"{len(shown)} images for the project: {class_counts(shown)}.")
        say(f"{len(held)} images held out to measure on (seed {options.seed}).")
    else:
        say(f"{len(shown)} images for the project.")
    key = project_key(
        question=question,
        classes=classes,
        shown=[(image.key, str(image.path), image.label) for image in shown],
        held=[image.key for image in held],
    )
    return Collection(key, f"{title}: {question}", question, classes, tuple(shown), tuple(held))


def simulated_labels(options: DemoOptions, folder: Path, bar: Bar) -> Path:
    """Simulate the galaxies that are missing; return their labels file."""
    step = bar("Simulating galaxies", options.galaxies)
    name = f"{options.galaxies}-galaxies-seed-{options.seed}"
    return simulate_folder(folder / name, options.galaxies, options.seed, lambda: step(1))


def bring(
    images: tuple[DemoImage, ...], folder: Path, what: str, say: Say, bar: Bar
) -> list[Picture]:
    """Bring images into `folder`; those that cannot be shown are named and left out.

    Raises
    ------
    DemoError
        None can be shown.
    """
    step = bar(what, len(images))
    pictures, problems = place(images, folder, lambda: step(1))
    for problem in problems[:5]:
        say(f"Left out: {problem}")
    if len(problems) > 5:
        say(f"... and {len(problems) - 5} more that cannot be shown.")
    if images and not pictures:
        raise DemoError(f"None of the {len(images)} images can be shown. {problems[0]}")
    return pictures
