"""A random two-layer Llama with a tokenizer of its own, as if it came from elsewhere; by this
package alone."""

import torch
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers, trainers

from minir1.config import CorpusConfig, ModelConfig
from minir1.corpus.mixture import sample_text
from minir1.hub.codec import TEMPLATES, ImportedCodec
from minir1.model import Transformer

MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def small_codec(template: str = TEMPLATES["chatml"], texts: int = 200) -> ImportedCodec:
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    how = {"vocab_size": 500, "show_progress": False, "special_tokens": MARKS}
    trainer = trainers.BpeTrainer(initial_alphabet=alphabet, **how)
    library.train_from_iterator(sample_text(CorpusConfig(), 0, texts), trainer)
    return ImportedCodec(library.to_str(), template, (2,), 0)


def small_llama(vocab_size: int = 512, seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    return Transformer(ModelConfig(
        vocab_size=vocab_size, width=64, layers=2, heads=4, attention="gqa", kv_heads=2,
        head_width=16, dense_width=96, experts=0, positions=512, tied=True,
    )).eval()  # fmt: skip
