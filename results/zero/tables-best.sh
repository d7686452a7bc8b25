#!/usr/bin/env bash
# tables-best/: runs/best-0 is best-seed0's run. The second line ran with weights in bfloat16.
python -m minir1 tables runs/best-0/checkpoints/zero.pt --base runs/best-0/checkpoints/base.pt \
  --only puzzles,many,arithmetic,sweep --out results/zero/tables-best
python -m minir1 tables runs/best-0/checkpoints/zero.pt --only gym --device cpu \
  --out results/zero/tables-best
