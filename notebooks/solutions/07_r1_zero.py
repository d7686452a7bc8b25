"""Solutions to the puzzles of 07_r1_zero.ipynb, for teachers."""


def learning_rate(step, steps, peak, warmup, end):
    warm = min(1.0, (step + 1) / max(1, warmup))
    return peak * warm * (1 - (1 - end) * step / steps)


def signal(reward_PG):
    differs_P = (reward_PG != reward_PG[:, :1]).any(1)  # all groups are equally large
    return differs_P.float().mean()


def search(hit_rate, most):
    solved = 1 - (1 - hit_rate) ** most
    attempts = solved / hit_rate  # each attempt hits with hit_rate, so hits = hit_rate * attempts
    return solved, attempts


def repeats(attempts):
    return len(attempts) - len(set(attempts))
