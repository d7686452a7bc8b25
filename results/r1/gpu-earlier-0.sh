#!/usr/bin/env bash
# gpu-0/: the second and third line ran beside the first, on another card; put into one folder.
python train_r1.py --preset gpu --stages 0-4 --no-control --out runs/r1-gpu-0
python train_r1.py --preset gpu --stages students --from runs/r1-gpu-0 --out runs/r1-gpu-students
python train_r1.py --preset gpu --stages 2 --reasoning.language_reward 0 \
  --from runs/r1-gpu-0 --out runs/r1-gpu-plain
python train_r1.py --preset gpu --stages 5 --students.on_policy_steps 40 \
  --from runs/r1-gpu-0 --out runs/r1-gpu-5
