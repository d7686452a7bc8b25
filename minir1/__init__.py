"""DeepSeek-R1 small enough to read in an evening and to train in a coffee break.

The core, in reading order. Each file imports only files above it:

    config        every setting, with its unit
    tasks         the registry, countdown, arithmetic: draw a problem, word it, verify an answer
    transcript    the prompt and the tags: render(...) and parse(...)
    tokenizer     text to token ids: what the core asks for, and a small BPE with single digits
    model         latent attention, experts, blocks (DeepSeek-V3 in miniature, and a dense twin)
    checkpoint    one file: weights, configuration, tokenizer
    supervised    the cross-entropy loop, for pretraining and fine-tuning
    sampler       token ids in, token ids and log-probs out
    rewards       text in, Reward out
    rollout       sample -> decode -> score
    grpo          advantages, the loss, the update

`train_zero.py` puts these together. The rooms around the core, from the ground up; a room imports
only from rooms above it in this list, and from the core:

    data          shipped checkpoints
    corpus        what a base reads: the mixture, and its writers
    presets       settings for a laptop, a card, a free Colab
    console       flags, errors in one line, files written whole
    variants      other losses, another optimiser, the reference policy
    fast          the same functions, faster
    hub           to and from other formats
    measure       what a response does: evaluators, behaviours, baselines
    report        plots, the page, the run in words
    run           run folder, session, the phases of a training run
    r1            the stages after R1-Zero: tasks, data, preference, pipeline, students, scoreboard
    play          the playground in the terminal
    experiments   measured once, can be measured again; nothing imports them

Shape legend. A tensor's name ends in one letter per dimension:

    B  batch (sequences or responses)      D  model width
    T  time (tokens)                       F  hidden width of a feed-forward layer
    S  time of keys                        H  attention heads
    V  vocabulary                          C  width of one head; in latent attention of the part
    L  layers                                 of query and key that is not rotated, with ...
    E  routed experts                      J  width of the rotated part, and
    K  experts chosen per token            U  width of the values
    N  tokens of a batch, flattened (B*T)  R  width of the latent
    P  prompts of a step                   W  numbers cached per token and layer
    G  responses per prompt (the group)    A  angles of RoPE (half of what is rotated)

`logp_BT[b, t]` is the log-probability of the token at position t+1 given positions 0..t, in nats.
"""
