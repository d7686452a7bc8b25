"""Solutions to the puzzles of 04_sampler.ipynb, for teachers."""

import heapq


def cooled(logits_V, temperature):
    return (logits_V / temperature).log_softmax(-1)


def draw_token(p_V, u):
    before = int((p_V.cumsum(-1) <= u).sum())  # how many pieces end before the dart
    return min(before, len(p_V) - 1)  # rounding: the pieces may end before 1


def nucleus(p_V, top_p):
    ordered, index = p_V.sort(descending=True)
    ordered[ordered.cumsum(-1) - ordered >= top_p] = 0.0  # reached before this token came
    kept_V = p_V.new_zeros(len(p_V))
    kept_V[index] = ordered
    return kept_V / kept_V.sum()


def cut_at_stop(ids, stop_ids, max_tokens):
    ends = [place for place, token in enumerate(ids[:max_tokens]) if token in stop_ids]
    return (ends[0] + 1, True) if ends else (max_tokens, False)


def slot_steps(lengths, slots):
    done = [0] * slots  # when each slot comes free
    for length in lengths:
        heapq.heapreplace(done, done[0] + length)
    return max(done)


def action_mask(prompt_length, response_length, width):
    first = prompt_length - 1  # this position predicts the first token of the response
    return [first <= position < first + response_length for position in range(width)]
