"""Solutions to the puzzles of 08_r1_pipeline.ipynb, for teachers."""

import torch.nn.functional as F


def keep(right, thought, repeated, false_steps, share):
    if not right:
        return "wrong"
    if thought is None:
        return "no thought"
    if share is not None and share < 1:  # without words no language is wrong
        return "other language"
    if repeated:
        return "repeated attempt"
    return "false step" if false_steps else ""


def thin_out(pairs, most):
    kept, count = [], {}
    for pair in dict.fromkeys(pairs):  # each once, in order
        question, _ = pair
        count[question] = count.get(question, 0) + 1
        if count[question] <= most:
            kept.append(pair)
    return kept


def highest_weight(share):
    return 1 / (1 - share)  # 1 + weight * share = weight


def preference_loss(better_N, worse_N):
    return -F.logsigmoid(better_N - worse_N).mean()


def reverse_kl(student_V, teacher_V):
    student_V, teacher_V = student_V.log_softmax(-1), teacher_V.log_softmax(-1)
    return (student_V.exp() * (student_V - teacher_V)).sum()


def operations(parameters, sampled, trained):
    return parameters * (2 * sampled + 6 * trained)
