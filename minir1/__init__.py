"""DeepSeek-R1 small enough to read in an evening and to train in a coffee break.

Reading order (each module imports only modules above it):

    config        every knob, with its unit; presets; the command line made from them
    tasks         countdown, arithmetic: sample a problem, word it, verify an answer, write traces
    transcript    the prompt and the tags: render(...) and parse(...)
    corpus        the mini-web the base model reads
    tokenizer     a small BPE with single digits
    model         latent attention, experts, blocks (DeepSeek-V3 in miniature, and a dense twin)
    checkpoint    one file: weights, configuration, tokenizer
    supervised    the cross-entropy loop, for pretraining and for SFT
    sampler       token ids in, token ids and log-probs out
    rewards       text in, Reward out
    rollout       sample -> decode -> score
    grpo          advantages, the loss, the update, the loop

`train_zero.py` puts these together. Everything else (minir1/fast, minir1/variants,
minir1/tools) stands beside the core and plugs in through the same signatures.

Shape legend. A tensor's name ends in one letter per dimension:

    B  batch (sequences or responses)      V  vocabulary
    T  time (tokens)                       L  layers
    S  time of keys, when it differs       E  routed experts
    D  model width                         K  experts chosen per token
    H  attention heads                     F  feed-forward width
    R  latent rank (cached per token)      N  tokens of a batch, flattened (B*T)
    C  width of one head                   G  responses sampled per prompt (the group)

`logp_BT[b, t]` is the log-probability of the token at position t+1 given positions 0..t.
"""
