"""Task 1, solved."""


def advantages(reward_PG):
    from_first_PG = reward_PG - reward_PG[:, :1]  # equal rewards become exact zeros
    centred_PG = from_first_PG - from_first_PG.mean(1, keepdim=True)
    return centred_PG / (from_first_PG.std(1, keepdim=True) + 1e-4)
