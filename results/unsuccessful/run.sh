#!/usr/bin/env bash
# Both experiments, three seeds: 21 processes of one thread, eight at a time, ended after MINUTES.
#     results/unsuccessful/run.sh OUT
# Each process writes its file again at every measurement: what has ended early is there so far.
set -u
out=${1:?a folder for the results}
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH=$here/../.. OMP_NUM_THREADS=1 OUT=$out HERE=$here
export END=$(($(date +%s) + 60 * ${MINUTES:-19}))
mkdir -p "$out"
{
  for seed in 0 1 2; do
    for arm in learned stated both rule; do echo "reward.py $arm --seed $seed"; done
    for policy in zero base; do echo "search.py $policy --seed $seed"; done
  done
  for seed in 0 1 2; do echo "reward.py wide --seed $seed"; done
} | xargs -P "${JOBS:-8}" -I{} bash -c '
  set -- {}
  name=${1%.py}-$2-$4
  left=$((END - $(date +%s)))
  [ "$left" -gt 0 ] && timeout "$left" python "$HERE/$1" "${@:2}" --out "$OUT" > "$OUT/$name.log" 2>&1
  echo "$name: ended with $?"'
