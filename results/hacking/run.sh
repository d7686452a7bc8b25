#!/usr/bin/env bash
for seed in 0 1 2; do
  python -m minir1 hack preference runs/r1-cpu-earlier/checkpoints/dev3.pt \
    --languages en,zh --seed $seed --out results/hacking
  python -m minir1 hack reasoning minir1/data/base-cpu.pt \
    --judge_steps 30 --steps 80 --seed $seed --out results/hacking
done
