"""How hard each puzzle is (one to three stars), and two hints: where to look, then how to go."""

from typing import NamedTuple


class Help(NamedTuple):
    stars: int
    hints: tuple[str, str]


HELP = {
    "00.replay": Help(2, (
        "Keep a list of the numbers that are there. What happens to it in one step?",
        "Take a out before you look for b: they may be the same number. Return False if one is not "
        "there; at the end the list must be [target].",
    )),
    "00.response_probability": Help(1, (
        "The probability of a whole is the product over its tokens.",
        "The logarithm of a product is a sum: add up, then take exp.",
    )),
    "00.push": Help(2, (
        "Compare each reward with the mean of its group.",
        "The mean of equal floats can be off by a bit, and a bit has a sign. Call a difference "
        "below 1e-6 zero.",
    )),
    "00.majority": Help(1, (
        "Leave out the missing answers before you count.",
        "max() keeps the first of equals: max(given, key=given.count). What if `given` is empty?",
    )),
    "01.cache_numbers": Help(1, (
        "Multi-head attention keeps a key and a value for each head.",
        "gqa keeps them for kv_heads; mla keeps one latent and one rotated key for all heads.",
    )),
    "01.rotate_pairs": Help(2, (
        "A turn by an angle: (a, b) becomes (a cos - b sin, a sin + b cos).",
        "x[0::2] are the first of each pair, x[1::2] the second; put them back in turn.",
    )),
    "01.causal_weights": Help(2, (
        "With S keys and T queries, the first query stands at position S - T.",
        "Set the scores of later keys to minus infinity, then softmax over the keys.",
    )),
    "01.absorb_query": Help(2, (
        "The score is q . (W c). Move W to the other side of the scalar product.",
        "For each head, sum over C: q[h, c] * up[h, c, r]. torch.einsum says it in one line.",
    )),
    "01.attend_latent": Help(3, (
        "Scores use whole entries; values use only the first `rank` numbers.",
        "softmax(query @ stored.T * scale) over the entries, times stored[:, :rank].",
    )),
    "02.gates": Help(2, (
        "The bias says who is chosen, and has no say in the weight.",
        "Take the top_k of score + bias; divide the chosen scores (without bias) by their sum.",
    )),
    "02.share_of_choices": Help(1, (
        "Count how often each expert occurs, then divide by the number of choices.",
        "torch.bincount(..., minlength=experts): an idle expert is a 0 and not missing.",
    )),
    "02.step_bias": Help(1, (
        "Only the sign of (load - mean) counts.",
        "torch.sign is 0 where they are equal, which is what is wanted.",
    )),
    "02.sequence_balance": Help(3, (
        "f_i counts choices, P_i is a mean of scores; each token's scores sum to 1 first.",
        "f_i = E / (K T) * (choices of i). P_i = mean over tokens of s_i / sum(s). Sum f_i * P_i.",
    )),
    "03.true_share": Help(1, (
        "Do each step yourself and compare.",
        "A share: how many are true, divided by how many there are.",
    )),
    "03.count_attempts": Help(1, (
        "A line is an attempt, however many steps it holds.",
        'Split at "\\n" and count the lines that contain " = ".',
    )),
    "03.pass_at_k": Help(2, (
        "The chance of at least one right is 1 minus the chance of none.",
        "None: all k come from the n - c wrong ones, comb(n - c, k) of comb(n, k) ways.",
    )),
    "04.cooled": Help(1, (
        "Temperature divides logits, not probabilities.",
        "Divide first, then log_softmax, so that the probabilities sum to 1.",
    )),
    "04.draw_token": Help(2, (
        "Where does each token's piece end? Cumulated sums.",
        "Count the ends that are <= u. By rounding that may be all of them: then it is the last.",
    )),
    "04.nucleus": Help(3, (
        "Sort by probability. Keep a token if those before it have not reached top_p.",
        "cumsum - p is what stood before. Put the kept ones back in place, divide by their sum.",
    )),
    "04.cut_at_stop": Help(1, (
        "Look only at the first max_tokens ids.",
        "The stop token is part of the response: the length is its place + 1.",
    )),
    "04.slot_steps": Help(3, (
        "A response begins in the slot that comes free first.",
        "Keep the time at which each slot comes free; add to the smallest; the largest is it.",
    )),
    "04.action_mask": Help(2, (
        "Position t predicts the token at t + 1.",
        "The first response token stands at prompt_length, so position prompt_length - 1 counts.",
    )),
    "05.well_formed": Help(3, (
        "A regular expression for the whole text: re.fullmatch.",
        "Inside the tags forbid < and >, or a greedy .* runs over a second answer; \\s* outside; "
        "nothing behind <|end|>.",
    )),
    "05.uses_each_once": Help(1, (
        "A set forgets that a number may be there twice.",
        "Sort both, or count both.",
    )),
    "05.exact_value": Help(3, (
        "Two passes: products and quotients first, from left to right, then sums.",
        "Keep a running product; + or - adds it to the total. fractions.Fraction is exact.",
    )),
    "05.total_reward": Help(1, (
        "Make a table of the four cases.",
        "Being right earns nothing if the form is wrong.",
    )),
    "05.share_in_language": Help(1, (
        "Look at the first character of each word.",
        '(word[0] >= "一") == (lang == "zh") is True for a fitting word. No words: 1.0.',
    )),
    "06.advantages": Help(2, (
        "Mean and standard deviation of this group alone; torch's std divides by G - 1.",
        "If all rewards are the same, return zeros before you divide: the mean of equal floats can "
        "be off by a bit, and 1e-4 makes a bit large.",
    )),
    "06.clipped_terms": Help(1, (
        "clamp(1 - low, 1 + high).",
        "The minimum is taken after the product with A; for a negative A it takes the other side.",
    )),
    "06.gradient_weights": Help(3, (
        "The minimum picks one of two; the clipped one is a constant, so its slope is 0.",
        "0 if A > 0 and ratio > 1 + high, or A < 0 and ratio < 1 - low. Elsewhere the slope of "
        "exp(logp - old) * A is ratio * A.",
    )),
    "06.kl_estimate": Help(1, (
        "Eq. 2: x - log x - 1 with x = p_ref / p.",
        "log x is ref_logp - logp, and x its exp.",
    )),
    "06.average_three_ways": Help(2, (
        "Set what is masked to 0, then ask of each mean: divided by what?",
        "GRPO: per response by its length, then by the number of responses. DAPO: by all tokens. "
        "Dr. GRPO: by responses * max_tokens.",
    )),
    "06.response_ratio": Help(2, (
        "A geometric mean is the exp of a mean of logarithms.",
        "(logp - old) where the mask holds, mean, exp.",
    )),
    "07.learning_rate": Help(2, (
        "Two factors: the warm-up, at most 1, and the line.",
        "(step + 1) / warmup, but 1 if that is more or there is none; and "
        "1 - (1 - end) * step / steps.",
    )),
    "07.signal": Help(1, (
        "Compare each reward with the first of its group.",
        "A group that differs counts with all its responses.",
    )),
    "07.search": Help(3, (
        "The chance of no hit in `most` attempts is (1 - hit_rate) ** most.",
        "Hits come at hit_rate per attempt, so (chance of a hit) = hit_rate * (mean attempts).",
    )),
    "07.repeats": Help(1, (
        "Each text counts from its second time on.",
        "Compare the number of attempts with the number of different ones.",
    )),
    "08.keep": Help(1, (
        "The order of the questions is the order of the answers.",
        'An empty thought "" is a thought: test for None. share may be None, too.',
    )),
    "08.thin_out": Help(2, (
        "Remove doubles first: they must not use up room.",
        "dict.fromkeys(pairs) keeps each once, in order; then count per question.",
    )),
    "08.highest_weight": Help(2, (
        "Write both totals: 1 + weight * share, and weight.",
        "Solve 1 + w * share = w for w.",
    )),
    "08.preference_loss": Help(1, (
        "One number for each pair, then the mean.",
        "torch.nn.functional.logsigmoid does not overflow.",
    )),
    "08.reverse_kl": Help(2, (
        "Logits are no log-probabilities: log_softmax first, of both.",
        "The mean is over the student's distribution: sum p_s * (log p_s - log p_t).",
    )),
    "08.operations": Help(1, (
        "How many for one token that is written? And for one trained on?",
        "2 and 2 + 4 = 6, times the parameters.",
    )),
    "09.stderr": Help(2, (
        "First a share for each problem: its responses are not independent.",
        "The standard deviation of those shares (P - 1), divided by sqrt(P).",
    )),
    "09.differ": Help(1, (
        "The error of a difference of independent figures: add squares.",
        "abs(a - b) > 2 * sqrt(error_a ** 2 + error_b ** 2).",
    )),
    "09.trend": Help(3, (
        "Centre the places at 0: then the line's middle is the mean of the values.",
        "slope = sum(x y) / sum(x x) with x centred; the ends lie at x[0] and x[-1].",
    )),
    "09.gap": Help(1, (
        "Absolute value first, mean second.",
        "Pick with the mask, so that padding is not divided by.",
    )),
    "09.load_max": Help(2, (
        "Count each layer by itself, take the largest count of all.",
        "An even share is N / experts.",
    )),
    "10.training_bytes": Help(1, (
        "How many bytes does one parameter cost in each of the five places?",
        "18 a parameter; the cache is 2 (key, value) * 2 bytes * layers * heads * width * tokens.",
    )),
    "10.equal_steps": Help(1, (
        "The parameters are the same on both sides.",
        "A token of RL costs 2 + 6 operations; divide and round down.",
    )),
    "10.neighbours": Help(2, (
        "See the rows as two halves: row i of each half belongs together.",
        "unflatten into (2, K/2), exchange the two dimensions, flatten again.",
    )),
    "11.at_most": Help(2, (
        "The chance that none of n samples is right: (1 - rate) ** n.",
        "Set it to 0.05 and solve for the rate: an n-th root. About 3 / n when n is large.",
    )),
    "11.random_floor": Help(1, (
        "A puzzle stays unsolved if all k attempts miss it.",
        "First the chance of each puzzle, then the mean: the mean chance to the power k is wrong.",
    )),
    "11.verdict": Help(1, (
        "An interval says something only if 0 lies outside it.",
        "Look at extends first (all lower bounds), then at low_K[0] and at high_K[-1]. Both may "
        "hold.",
    )),
}
