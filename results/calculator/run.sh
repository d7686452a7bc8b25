#!/usr/bin/env bash
for seed in 0 1 2; do
  python -m minir1 calculator runs/r1-cpu-earlier/checkpoints/r1.pt --languages en,zh \
    --documents 16000 --problems 512 --seed $seed --out runs/calculator-$seed
done
