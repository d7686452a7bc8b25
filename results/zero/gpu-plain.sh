#!/usr/bin/env bash
# gpu-plain/: the model of the gpu preset, from a base that has read the plain writer.
python train_zero.py --preset t4 --dtype auto --kernels auto --from_scratch on \
  --pretrain.tokens 260_000_000 --rl.train_tokens 262_144 --eval.problems 2048 --eval.batch 2048
