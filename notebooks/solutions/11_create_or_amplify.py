"""Solutions to the puzzles of 11_create_or_amplify.ipynb, for teachers."""


def at_most(samples):
    return 1 - 0.05 ** (1 / samples)


def random_floor(chance_P, k):
    return (1 - (1 - chance_P) ** k).mean()


def verdict(low_K, high_K):
    if min(low_K) > 0:
        return "extends"
    rises, falls = low_K[0] > 0, high_K[-1] < 0
    if rises and falls:
        return "sharpens and narrows"
    return "sharpens" if rises else "narrows" if falls else "nothing"
