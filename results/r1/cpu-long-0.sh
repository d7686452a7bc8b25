#!/usr/bin/env bash
# cpu-long-0/: from the R1-Zero of cpu-0.
python train_r1.py --preset cpu --seed 0 --from runs/r1-cpu-0 --out runs/r1-cpu-long-0 --stages 1-4 \
  --reasoning.steps 240 --reasoning.lr 1e-4 \
  --rejection.prompts 8192 --rejection.lines 12000 --rejection.general 20000 \
  --scenarios.steps 100 --scenarios.lr 1e-4
