#!/usr/bin/env bash
# t4-on-h100/: float16, no kernel that only newer cards have, nothing compiled. runs/gpu-0 is gpu-plain's run.
python -m minir1 pack runs/gpu-0/checkpoints/base.pt runs/gpu-0/checkpoints/base-gpu.pt
python train_zero.py --preset t4 --base runs/gpu-0/checkpoints/base-gpu.pt \
  --rl.steps 100 --eval.answer_only_steps 0 --eval.problems 1024
