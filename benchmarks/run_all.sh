#!/bin/sh
# All figures of the README, one script after the other: run_all.sh PYTHON
# What needs real galaxies is left out, saying so, where GALAXYLOOP_DATA names none.
# ResNet18 takes hours, so `label_efficiency.py --arms resnet18` is run by hand; what its results
# file (label_efficiency.jsonl) has is reported.
python="${1:-python3}"
failed=0
for script in answer_times ranking round_latency learning embeddings encoding label_efficiency store masks pictures heads crowd; do
    printf '\n== %s ==\n' "$script"
    case "$script" in
        learning) options="--data gz1_sdss_6class decals_rings gz2_sdss_votes" ;;
        label_efficiency) options="--run lvm_active lvm_random random_features --no-figure" ;;
        *) options="" ;;
    esac
    # shellcheck disable=SC2086
    "$python" "benchmarks/$script.py" $options || failed=1
done
exit "$failed"
