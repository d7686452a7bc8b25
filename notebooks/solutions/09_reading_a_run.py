"""Solutions to the puzzles of 09_reading_a_run.ipynb, for teachers."""

import torch


def stderr(right_PG):
    share_P = right_PG.mean(1)
    return share_P.std() / len(share_P) ** 0.5


def differ(a, error_a, b, error_b):
    return abs(a - b) > 2 * (error_a**2 + error_b**2) ** 0.5


def trend(values):
    y = torch.tensor(values)
    x = torch.arange(len(y)) - (len(y) - 1) / 2  # centred, so that the mean is the line's middle
    slope = (x * y).sum() / (x * x).sum()
    return y.mean() + slope * x[0], y.mean() + slope * x[-1]


def gap(trainer_BT, sampler_BT, mask_BT):
    return (trainer_BT - sampler_BT).abs()[mask_BT].mean()


def load_max(chosen_LN, experts):
    count_LE = torch.stack([torch.bincount(chosen_N, minlength=experts) for chosen_N in chosen_LN])
    return experts * count_LE.max() / chosen_LN.shape[1]
