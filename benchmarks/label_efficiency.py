"""Label efficiency: macro AUC on galaxies that nobody labelled, against the number of labels.

Arms: ResNet18 from scratch; a logistic regression on an untrained ResNet18; the LVM with our head
and labels at random; the same with our active learning, ranked and trained as the service does it.
A third of the galaxies is held out (another third for each seed, the same for all arms); random
labels are the same galaxies for all arms that use them. Every result is appended to a file, so a
run that was interrupted goes on, and an arm that has changed runs alone.

    python benchmarks/label_efficiency.py --results FILE            # what is missing, and report
    python benchmarks/label_efficiency.py --results FILE --report   # report and draw only

Data: the sets named by ``--sets`` under ``GALAXYLOOP_DATA`` (real galaxies, not in the
repository). ResNet18 takes a few hours of one processor core, the others minutes. How the arms
work is written in docs/label-efficiency.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from efficiency.arms import Arm, Encoder, all_arms
from efficiency.curves import Curve
from efficiency.report import report
from efficiency.results import Result, ResultsFile, curve_of
from labelled_sets import SETS, LabelledSet, data_folder, read_set

from models.sources import DEFAULT_FOLDER, load_lvm

FIGURE = Path(__file__).parents[1] / "docs" / "images" / "label_efficiency.png"


def measure(arm: Arm, data: LabelledSet, seed: int, numbers: list[int], file: ResultsFile) -> None:
    """Run an arm for those numbers of labels that the file lacks."""
    missing = file.missing(arm.name, data.name, seed, numbers, arm.lvm, arm.settings)
    if not missing:
        return
    for labels, auc, seconds in arm.run(data, seed, missing):
        result = Result(
            arm.name,
            data.name,
            seed,
            labels,
            arm.lvm,
            arm.settings,
            round(auc, 5),
            round(seconds, 2),
        )
        file.append(result)
        print(
            f"{data.name} seed {seed} {arm.name} {labels:>4} labels: {auc:.3f} ({seconds:.0f} s)",
            file=sys.stderr,
            flush=True,
        )


def curves_of(
    results: Iterable[Result], arms: Mapping[str, Arm], sets: Iterable[str], seeds: Iterable[int]
) -> dict[str, dict[str, Curve]]:
    """Gather curves by set and arm; results of another LVM or of other settings are left out."""
    current = {(arm.name, arm.lvm, arm.settings): arm.name for arm in arms.values()}
    every = list(results)
    used = [result for result in every if (result.arm, result.lvm, result.settings) in current]
    if len(used) < len(every):
        print(
            f"{len(every) - len(used)} results are of another LVM, of settings that have changed "
            "or of arms not asked for; left out.",
            file=sys.stderr,
        )
    chosen = list(seeds)
    found: dict[str, dict[str, Curve]] = {}
    for name in sets:
        for arm in arms:
            mine = [result for result in used if result.arm == arm and result.set == name]
            curve = curve_of(mine, chosen)
            if curve is not None:
                found.setdefault(name, {})[arm] = curve
    return found


def main() -> int:
    """Run what is missing, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("label_efficiency.jsonl"))
    parser.add_argument("--arms", nargs="+", help="default: all")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--numbers",
        type=int,
        nargs="+",
        help="of labels, as far as the pool goes (default: what suits each arm)",
    )
    parser.add_argument("--lvm", type=Path, default=DEFAULT_FOLDER, help="folder of an LVM")
    parser.add_argument("--run", nargs="+", help="arms to run, where not all that are reported")
    parser.add_argument("--report", action="store_true", help="run nothing, report what there is")
    parser.add_argument("--figure", type=Path, default=FIGURE)
    parser.add_argument("--no-figure", action="store_true")
    options = parser.parse_args()
    arms = all_arms(Encoder(load_lvm(options.lvm), options.lvm))
    unknown = sorted({*(options.arms or ()), *(options.run or ())} - set(arms))
    if unknown:
        parser.error(f"there is no arm {', '.join(unknown)}; known are {', '.join(arms)}")
    if options.arms:
        asked = {*options.arms, *(options.run or ())}
        arms = {name: arm for name, arm in arms.items() if name in asked}
    file = ResultsFile(options.results)
    if not options.report:
        root = data_folder()
        if root is None:
            return 1
        sets = [read_set(name, root) for name in options.sets]
        for data in sets:
            print(f"{data.describe()}; a third held out", file=sys.stderr)
        # Seed by seed, so that a run that is cut short still has every arm on every set.
        for seed in options.seeds:
            for arm in (arms[name] for name in options.run or arms):
                for data in sets:
                    pool = len(data) - len(data) // 3
                    numbers = arm.numbers(pool)
                    if options.numbers:
                        numbers = [n for n in options.numbers if 0 <= n <= pool]
                    measure(arm, data, seed, numbers, file)
    curves = curves_of(file.read(), arms, options.sets, options.seeds)
    if not curves:
        print(f"{options.results} holds no results of these arms and sets.", file=sys.stderr)
        return 1
    for line in report(curves, {name: arm.title for name, arm in arms.items()}):
        print(line)
    if not options.no_figure:
        # Drawing is for developers; measuring must not need it.
        from efficiency.figure import draw

        draw(curves, options.figure)
        print(f"\nFigure: {options.figure}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
