#!/bin/sh
# All figures of the README, one script after the other: run_all.sh PYTHON
# What needs real galaxies is left out, saying so, where GALAXYLOOP_DATA names none.
python="${1:-python3}"
failed=0
for script in answer_times ranking round_latency learning embeddings encoding; do
    printf '\n== %s ==\n' "$script"
    case "$script" in
        learning) options="--data gz1_sdss_6class decals_rings gz2_sdss_votes" ;;
        *) options="" ;;
    esac
    # shellcheck disable=SC2086
    "$python" "benchmarks/$script.py" $options || failed=1
done
exit "$failed"
