#!/usr/bin/env bash
# One thread and about ten minutes a line; the lines can run side by side.
export OMP_NUM_THREADS=1
out=results/unsuccessful
for seed in 0 1 2; do
  for arm in rule learned both stated wide; do
    python results/unsuccessful/reward.py $arm --seed $seed --out $out
  done
  for policy in base zero; do
    python results/unsuccessful/search.py $policy --seed $seed --out $out
  done
done
python results/unsuccessful/draw.py
