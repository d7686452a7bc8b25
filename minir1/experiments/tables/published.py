"""Results of others that tables stand beside, in percent, each with its source."""

# To Backtrack or Not to Backtrack (Kempner Institute, 2025), trained from scratch, Stream of
# Search's puzzles of four numbers
BUDGETS = (256, 512, 1024, 2048, 4096)
SOS4 = {
    "3 M, backtracking": (10.5, 13.5, 28.5, 33.5, 41.5),
    "3 M, backtracking + GRPO": (14.5, 20.0, 38.5, 58.5, 68.0),
    "17 M, backtracking": (7.5, 11.5, 25.5, 35.0, 41.5),
    "17 M, backtracking + GRPO": (23.5, 31.0, 41.0, 52.5, 70.5),
}
# arXiv 2404.03683
SOS4_OTHER = {"Stream of Search, 250 M, 4,096 tokens": 51.3, "the same after APA/STaR": 56.5}

# Cognitive behaviors (arXiv 2503.01307): three billion parameters, PPO, three or four numbers
THREE_TO_FOUR = {
    "Qwen2.5-3B + PPO": 53.5, "Llama-3.2-3B + PPO": 33.8,
    "Qwen2.5-3B, primed with all four habits, + PPO": 77.3,
    "Llama-3.2-3B, primed with all four habits, + PPO": 73.6,
}  # fmt: skip

# reasoning-gym's stored answers, 50 questions each (150 where they end in .3 or .7), recomputed as
# exact solves
GYM = {
    "countdown easy": {
        "o3-mini": 94.7, "DeepSeek-R1": 74, "Claude Sonnet 4": 76,
        "QwQ-32B": 63.3, "Llama-3.3-70B": 0,
    },
    "countdown hard": {"o3-mini": 100, "DeepSeek-R1": 78, "QwQ-32B": 48, "Llama-3.3-70B": 0},
    "chain_sum easy": {
        "o3-mini": 99.3, "DeepSeek-R1": 100, "Claude Sonnet 4": 100,
        "QwQ-32B": 96.7, "Llama-3.3-70B": 97.3,
    },
    "chain_sum hard": {"o3-mini": 100, "DeepSeek-R1": 100, "QwQ-32B": 94, "Llama-3.3-70B": 70},
    "basic_arithmetic easy": {
        "o3-mini": 97.3, "DeepSeek-R1": 95.3, "Claude Sonnet 4": 95.3,
        "QwQ-32B": 98.7, "Llama-3.3-70B": 73.3,
    },
    "products easy": {
        "o3-mini": 100, "DeepSeek-R1": 92, "Claude Sonnet 4": 93.3,
        "QwQ-32B": 96, "Llama-3.3-70B": 35.3,
    },
    "products hard": {"o3-mini": 26, "DeepSeek-R1": 26, "QwQ-32B": 6, "Llama-3.3-70B": 0},
}

# GPT-3 175B, few-shot (arXiv 2005.14165, Table 3.9)
GPT3 = {
    "2d+": 100.0, "2d-": 98.9, "3d+": 80.4,
    "3d-": 94.2, "4d+": 25.5, "4d-": 26.8,
    "5d+": 9.3, "5d-": 9.9, "2dx": 29.2,
    "1dc": 21.3,
}
# Products of n-digit numbers: Goat-7B (arXiv 2305.14201) and GPT-4 of May 2023
PRODUCTS = {"2dx": (100, 99.4), "3dx": (97.8, 30.3), "4dx": (96.9, 5.3), "5dx": (96.7, 0.0)}
