"""The exported directory is the same function as our model: logits, text and ids, judged by
transformers itself.

Freshly made models have unit norms and no router bias, so a parity test on them is blind to half of
the equations. Here everything is drawn at random, and a set of sabotages shows that each part is
seen.
"""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from minir1.checkpoint import save_checkpoint
from minir1.config import CorpusConfig, ModelConfig, PretrainConfig, UserError
from minir1.corpus.mixture import sample_text
from minir1.hub.export import export, generation_config, main
from minir1.measure.evaluate import build_parser, evaluate_model
from minir1.model import Cache, Transformer
from minir1.presets import PRESETS
from minir1.rewards import score
from minir1.sampler import Sampling, pad
from minir1.supervised import Learner, train_supervised
from minir1.tasks.arithmetic import Arithmetic
from minir1.tokenizer import Tokenizer
from minir1.transcript import BEGIN, END, PAD, SPECIAL_TOKENS, prompt, render

transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.torch")
transformers.utils.logging.disable_progress_bar()

SMALL = ModelConfig(
    vocab_size=512, width=64, layers=3, heads=4, kv_rank=32, nope_width=12, rope_width=8,
    value_width=20,
    kv_heads=2, head_width=24, dense_width=96, experts=6, top_k=2, expert_width=32, positions=256,
)  # fmt: skip
GQA = {"attention": "gqa", "experts": 0}
CASES = {
    "plain query": {}, "query latent": {"q_rank": 24}, "top 1": {"top_k": 1},
    "top 3": {"top_k": 3}, "routed scale": {"routed_scale": 2.5},
    "two dense layers": {"dense_layers": 2}, "no experts": {"experts": 0},
    "two shared experts": {"shared_experts": 2}, "no shared expert": {"shared_experts": 0},
    "mtp left out": {"mtp": True}, "other rope base": {"rope_base": 500.0}, "llama": GQA,
    "qwen3": GQA | {"qk_norm": True}, "one kv head": GQA | {"kv_heads": 1, "rope_base": 500.0},
}


@pytest.fixture(autouse=True)
def one_thread():
    """Small matrices on a shared machine: more threads only cost."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return sample_text(CorpusConfig(), 0, 300)


@pytest.fixture(scope="module")
def tokenizer(texts) -> Tokenizer:
    return Tokenizer.train(texts, 512)


@torch.no_grad()
def random_model(config: ModelConfig, gain: float = 1.0) -> Transformer:
    """Weights far from their initial values: norms in 0.5 .. 1.5, biases that matter, logits of std
    0.6.
    """
    torch.manual_seed(0)
    model = Transformer(config).eval()
    for weight in model.parameters():
        if weight.ndim > 1:
            weight.normal_(std=gain * weight.shape[-1] ** -0.5)
        else:
            weight.uniform_(0.5, 1.5)
    for layer in model.expert_layers():
        layer.bias_E.normal_(std=0.3)
    model.head.weight *= 0.6 / model(random_ids(config)).std()
    return model


def random_ids(config: ModelConfig, rows: int = 3, tokens: int = 60) -> torch.Tensor:
    return torch.randint(
        config.vocab_size, (rows, tokens), generator=torch.Generator().manual_seed(1)
    )


def write(model: Transformer, tokenizer: Tokenizer, folder: Path) -> Path:
    save_checkpoint(folder / "model.pt", model, tokenizer)
    export(folder / "model.pt", folder / "hub")
    return folder / "hub"


def load(directory: Path):
    """Through the Auto classes, as a user would; nothing may be missing, left over or of another
    shape.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            directory, output_loading_info=True
        )
    assert not any(report.values()), report
    return model.eval()


@torch.no_grad()
def gap(model: Transformer, directory: Path) -> float:
    """Largest difference of logits over random ids."""
    ids = random_ids(model.config)
    return (model(ids) - load(directory)(ids).logits).abs().max().item()


# ---------------------------------------------------------------- logits


@pytest.mark.parametrize("case", CASES)
def test_logits_agree(case, tokenizer, tmp_path):
    model = random_model(replace(SMALL, **CASES[case]))
    ids = random_ids(model.config)
    with torch.no_grad():
        logits = model(ids)
        _, routing = model.trunk(ids)
        for layer in model.expert_layers():
            layer.bias_E.zero_()
        _, unbiased = model.trunk(ids)
    assert logits.std() > 0.5
    chosen = [
        (a.expert_BTK.sort().values != b.expert_BTK.sort().values).any(-1).float().mean()
        for a, b in zip(routing, unbiased)
    ]
    assert all(share > 0.05 for share in chosen), (
        "the bias must decide about some tokens, or the test is blind to it"
    )
    model = random_model(model.config)
    difference = gap(model, write(model, tokenizer, tmp_path))
    print(f"{case}: max |logit difference| {difference:.1e}")
    assert difference < 1e-5


@pytest.mark.parametrize("preset", ["cpu", "gpu"])
def test_logits_agree_for_the_presets(preset, tokenizer, tmp_path):
    """The shapes people train."""
    model = random_model(PRESETS[preset].model)
    difference = gap(model, write(model, tokenizer, tmp_path))
    print(f"{preset} preset: max |logit difference| {difference:.1e}")
    assert difference < 1e-5


def edit_weights(directory: Path, change) -> None:
    """Put `change(name, tensor)` in the place of each exported tensor."""
    path = directory / "model.safetensors"
    weights = {
        name: change(name, value.clone()).contiguous()
        for name, value in safetensors.load_file(path).items()
    }
    safetensors.save_file(weights, path, metadata={"format": "pt"})


def edit_config(directory: Path, **changes) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def halves_to_pairs(value: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of each head reordered as if the rotation were interleaved."""
    return value.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


SABOTAGES = {
    "half-split rope": ({}, lambda d: edit_config(d, rope_interleave=False)),
    "no router bias": (
        {}, lambda d: edit_weights(d, lambda n, v: v * 0 if n.endswith("correction_bias") else v),
    ),
    "bias of the other sign": (
        {}, lambda d: edit_weights(d, lambda n, v: -v if n.endswith("correction_bias") else v),
    ),
    "unit latent norm": (
        {}, lambda d: edit_weights(d, lambda n, v: v**0 if "kv_a_layernorm" in n else v),
    ),
    "unit query norm": (
        {"q_rank": 24}, lambda d: edit_weights(d, lambda n, v: v**0 if "q_a_layernorm" in n else v),
    ),
    "weights not normalised": ({}, lambda d: edit_config(d, norm_topk_prob=False)),
    "scale forgotten": ({"routed_scale": 2.5}, lambda d: edit_config(d, routed_scaling_factor=1.0)),
    "one expert fewer": ({}, lambda d: edit_config(d, num_experts_per_tok=1)),
    "expert order": (
        {},
        lambda d: edit_weights(d, lambda n, v: v.flip(0) if n.endswith("mlp.gate.weight") else v),
    ),
    "gate of the other sign": (
        GQA, lambda d: edit_weights(d, lambda n, v: -v if "gate_proj" in n else v),
    ),
    "interleaved rope": (
        GQA, lambda d: edit_weights(d, lambda n, v: halves_to_pairs(v, 4) if "q_proj" in n else v),
    ),
    "unit key norm": (
        GQA | {"qk_norm": True},
        lambda d: edit_weights(d, lambda n, v: v**0 if "k_norm" in n else v),
    ),
    "rope base": (
        GQA,
        lambda d: edit_config(d, rope_parameters={"rope_type": "default", "rope_theta": 100.0}),
    ),
}


@pytest.mark.parametrize("name", SABOTAGES)
def test_parity_is_not_blind(name, tokenizer, tmp_path):
    settings, sabotage = SABOTAGES[name]
    model = random_model(replace(SMALL, **settings))
    directory = write(model, tokenizer, tmp_path)
    sabotage(directory)
    assert gap(model, directory) > 1e-2


# ---------------------------------------------------------------- generation


@torch.no_grad()
def greedy(model: Transformer, ids: list[int], tokens: int, end: int) -> list[int]:
    """The most probable continuation, through our cache (absorbed attention)."""
    cache, out = Cache(model.config, 1, len(ids) + tokens, "cpu", torch.float32), []
    new = ids
    while len(out) < tokens and (not out or out[-1] != end):
        out.append(model(torch.tensor([new]), cache)[0, -1].argmax().item())
        new = out[-1:]
    return out


@pytest.mark.parametrize(
    "settings", [{}, {"q_rank": 24, "top_k": 3, "routed_scale": 2.5}, GQA | {"qk_norm": True}],
    ids=str,
)
def test_greedy_text_is_identical(settings, tokenizer, tmp_path):
    # smaller ones soon repeat themselves
    model = random_model(replace(SMALL, vocab_size=len(tokenizer), **settings), gain=2.0)
    with torch.no_grad():
        model.head.weight[tokenizer.end] = 0  # a random model may stop at once: not here
    directory = write(model, tokenizer, tmp_path)
    twin, hub_tokenizer = load(directory), transformers.AutoTokenizer.from_pretrained(directory)
    for question in ("Use 19, 36, 55, 7 to make 65.", "12 + 30 =", "Hello"):
        given = hub_tokenizer(prompt(question), return_tensors="pt")
        theirs = twin.generate(**given, do_sample=False, max_new_tokens=40)[
            0, given.input_ids.shape[1] :
        ]
        ours = greedy(model, tokenizer.encode(prompt(question)), 40, tokenizer.end)
        assert len(ours) == 40 and len(set(ours)) > 5
        assert tokenizer.decode(ours) == hub_tokenizer.decode(theirs)


def test_generation_stops_at_the_end_token(tokenizer, tmp_path):
    """eos of the exported configuration, without any argument of generate()."""
    model = random_model(replace(SMALL, vocab_size=len(tokenizer)))
    ids = tokenizer.encode(prompt("Hello"))
    with torch.no_grad():
        usual = greedy(model, ids, 12, tokenizer.end)
        # swap this token's and the end token's rows: the model now ends here
        fourth = usual.index(usual[3])
        order = torch.arange(len(tokenizer))
        order[[usual[3], tokenizer.end]] = order[[tokenizer.end, usual[3]]]
        model.head.weight.copy_(model.head.weight[order])
    twin = load(write(model, tokenizer, tmp_path))
    out = twin.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=12)[0].tolist()
    assert (
        out == ids + usual[:fourth] + [tokenizer.end] == ids + greedy(model, ids, 12, tokenizer.end)
    )


FAMILIES = {"DeepseekV3": {}, "Llama": GQA, "Qwen3": GQA | {"qk_norm": True}}
LEARNED = [  # questions of many lengths, answered after more than transformers' 20 tokens
    Arithmetic(f"What is {a} plus {b}?", str(a + b)) for a in (3, 47, 518, 90217) for b in (6, 850)
]


def learned_model(settings: dict, tokenizer: Tokenizer) -> Transformer:
    """Knows the sums of LEARNED by heart, with a thought, and nothing else."""
    torch.manual_seed(0)
    model = Transformer(replace(SMALL, vocab_size=len(tokenizer), **settings))
    documents = []
    for problem in LEARNED:
        thought = f"{problem.text} is {problem.answer}, yes, {problem.text} is {problem.answer}"
        documents.append(tokenizer.encode(render(problem.text, problem.answer, thought)))
        assert len(documents[-1]) > len(tokenizer.encode(prompt(problem.text))) + 20
    ids_BT = pad(documents, tokenizer.pad)
    batches = [(ids_BT, ids_BT[:, 1:] != tokenizer.pad)] * 120
    config = PretrainConfig(lr=4e-3, balance_rate=0.01)
    train_supervised(model, Learner(model), batches, config, len(batches), lambda step: None)
    return model.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bare_generate_on_a_padded_batch_answers_as_evaluate_does(family, tokenizer, tmp_path):
    """As transformers' users ask: no argument but the tokenizer's own output."""
    model = learned_model(FAMILIES[family], tokenizer)
    asked, samples = build_parser().parse_args(["m.pt", "--problems", "p.jsonl"]), 8
    settings = Sampling(100, tokenizer.end_ids, asked.temperature, asked.top_p)
    results = evaluate_model(model, tokenizer, LEARNED, samples, settings)
    ours = sum(result["pass_at_1"] for result in results) / len(LEARNED)
    directory = write(model, tokenizer, tmp_path)
    twin, hub_tokenizer = load(directory), transformers.AutoTokenizer.from_pretrained(directory)
    assert type(twin).__name__ == f"{family}ForCausalLM"
    inputs = hub_tokenizer(
        [prompt(p.text) for p in LEARNED] * samples, padding=True, return_tensors="pt"
    )
    assert not inputs.attention_mask.all(), "the batch must hold padding, or the test is blind"
    for given in (inputs, {"input_ids": inputs.input_ids}):  # padding is known by its id, too
        torch.manual_seed(0)
        texts = hub_tokenizer.batch_decode(twin.generate(**given)[:, inputs.input_ids.shape[1] :])
        right = [score(p, t.partition(END)[0] + END) for p, t in zip(LEARNED * samples, texts)]
        theirs = sum(reward.accuracy for reward in right) / len(right)
        print(f"{family}: evaluate {ours:.1%}, generate {theirs:.1%}")
        assert ours > 0.9 and abs(ours - theirs) < 0.05


@pytest.mark.parametrize(
    ("positions", "most"), [(64, 1), (129, 1), (256, 128), (1151, 1023), (1153, 1024), (9999, 1024)]
)
def test_responses_have_the_room_that_a_prompt_leaves_up_to_a_thousand_tokens(positions, most):
    config = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 0)
    config |= {"vocab_size": 512, "max_position_embeddings": positions}
    assert generation_config(config, 510)["max_new_tokens"] == most
    assert generation_config(config, 510)["suppress_tokens"] == [510, 511]


@pytest.mark.parametrize("settings", [{}, GQA | {"tied": True}], ids=str)
def test_an_id_without_a_token_is_never_drawn(settings, tokenizer, tmp_path):
    """A base's vocabulary is a multiple of 64; the shipped ones have up to 27 ids without one."""
    model = random_model(replace(SMALL, vocab_size=len(tokenizer) + 64, **settings))
    twin = load(write(model, tokenizer, tmp_path))
    ids = torch.tensor([tokenizer.encode(prompt("Hello"))])
    torch.manual_seed(0)
    drawn = twin.generate(ids.repeat(64, 1), max_new_tokens=8, temperature=2.0, top_p=1.0)
    assert len(tokenizer) - 64 < drawn.max() < len(tokenizer)


def test_generation_settings_are_those_of_evaluate(tokenizer, tmp_path):
    """An id, a nucleus or a temperature of transformers' own would go unnoticed above."""
    asked = build_parser().parse_args(["m.pt", "--problems", "p.jsonl"])
    model = Transformer(replace(SMALL, vocab_size=len(tokenizer)))
    settings = transformers.GenerationConfig.from_pretrained(write(model, tokenizer, tmp_path))
    assert settings.do_sample and settings.top_k == 0
    assert (settings.temperature, settings.top_p) == (asked.temperature, asked.top_p)
    ids = (settings.bos_token_id, settings.eos_token_id, settings.pad_token_id)
    assert ids == (tokenizer.begin, tokenizer.end, tokenizer.pad)
    assert settings.max_new_tokens == SMALL.positions - 128  # a prompt of 128 fits, too
    assert settings.suppress_tokens is None  # every id has a token


# ---------------------------------------------------------------- tokenizer


@pytest.fixture(scope="module", params=["mla", "gqa", "qwen3"])
def hub_tokenizer(request, tokenizer, tmp_path_factory):
    """transformers picks a tokenizer class by model type, so each family is asked."""
    settings = {"mla": {}, "gqa": GQA, "qwen3": GQA | {"qk_norm": True}}[request.param]
    model = Transformer(replace(SMALL, vocab_size=len(tokenizer), **settings))
    return transformers.AutoTokenizer.from_pretrained(
        write(model, tokenizer, tmp_path_factory.mktemp(request.param))
    )


def test_ids_are_the_same(hub_tokenizer, tokenizer, texts):
    tags = ["a<think>b</think> <answer>1+1</answer>c<|end|><|pad|>", "<thin k>", *SPECIAL_TOKENS]
    strange = ["", " ", "\n\n", "你好，世界 3", "é😀\t(((1 - 2)", "don't  stop"]
    for text in texts[:200] + tags + strange:
        ids = tokenizer.encode(text)
        assert hub_tokenizer.encode(text, add_special_tokens=False) == ids
        assert hub_tokenizer(text).input_ids == ids, "nothing may be added at either end"
        assert hub_tokenizer.decode(ids) == tokenizer.decode(ids) == text


def test_special_tokens(hub_tokenizer, tokenizer):
    ids = (hub_tokenizer.bos_token_id, hub_tokenizer.eos_token_id, hub_tokenizer.pad_token_id)
    assert ids == (tokenizer.begin, tokenizer.end, tokenizer.pad)
    assert len(hub_tokenizer) == len(tokenizer)
    assert all(
        hub_tokenizer.convert_tokens_to_ids(token) == tokenizer.id(token)
        for token in SPECIAL_TOKENS
    )
    document = hub_tokenizer.encode(render("2 + 2 =", "4", "2 + 2 = 4"))
    shown = hub_tokenizer.decode(document, skip_special_tokens=True)
    assert shown == "User: 2 + 2 =\nAssistant:<think>2 + 2 = 4</think><answer>4</answer>", (
        "tags stay, marks go"
    )


def test_other_readers_drop_the_marks_and_keep_the_tags(hub_tokenizer, tokenizer):
    """transformers is told the marks twice; the tokenizers library knows tokenizer.json alone."""
    library = tokenizer.library.from_file(f"{hub_tokenizer.name_or_path}/tokenizer.json")
    text = render("2 + 2 =", "4", "2 + 2 = 4") + PAD
    assert text.startswith(BEGIN) and END in text
    shown = library.decode(tokenizer.encode(text), skip_special_tokens=True)
    assert shown == "User: 2 + 2 =\nAssistant:<think>2 + 2 = 4</think><answer>4</answer>"


def test_a_batch_is_padded_in_front(hub_tokenizer, tokenizer):
    batch = hub_tokenizer(["1", "1 + 1"], padding=True)
    assert sorted(batch) == ["attention_mask", "input_ids"]
    short, long = batch["input_ids"]
    assert short == [tokenizer.pad] * (len(long) - 1) + tokenizer.encode("1")
    assert batch["attention_mask"] == [[0] * (len(long) - 1) + [1], [1] * len(long)]


def test_the_tokenizers_settings_are_these(hub_tokenizer):
    """Readers that we do not run here have defaults of their own."""
    path = Path(hub_tokenizer.name_or_path) / "tokenizer_config.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written.pop("chat_template")  # compared with the prompt below
    assert written == {
        "bos_token": BEGIN, "eos_token": END, "pad_token": PAD, "padding_side": "left",
        "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False,
        "add_bos_token": False, "add_eos_token": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }


def test_llama_cpps_converter_adds_nothing_at_either_end(hub_tokenizer):
    vocabulary = pytest.importorskip("gguf").SpecialVocab(Path(hub_tokenizer.name_or_path))
    assert vocabulary.add_special_token == {"bos": False, "eos": False}


def test_chat_template_is_the_prompt(hub_tokenizer, tokenizer):
    for question in (
        "Use 19, 36, 55, 7 to make 65.", "2 + 2 =", "a\nb", "{{ x }} <b>&amp;", "用 1, 2",
    ):
        chat = [{"role": "user", "content": question}]
        assert hub_tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, tokenize=False
        ) == prompt(question)
        ids = hub_tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)[
            "input_ids"
        ]
        assert ids == tokenizer.encode(prompt(question))
    answered = [
        {"role": "user", "content": "2 + 2 ="},
        {"role": "assistant", "content": "<answer>4</answer>"},
    ]
    assert hub_tokenizer.apply_chat_template(answered, tokenize=False) == render("2 + 2 =", "4")
    with pytest.raises(Exception, match="no other role"):
        hub_tokenizer.apply_chat_template(
            [{"role": "system", "content": "be brief"}], tokenize=False
        )


# ---------------------------------------------------------------- files and faults


def test_config_states_every_key(tokenizer, tmp_path):
    """transformers' defaults describe the 671B model: a key left out is a silent error."""
    model = Transformer(
        replace(
            SMALL, vocab_size=len(tokenizer), q_rank=0, dense_layers=2, top_k=3, routed_scale=1.5
        )
    )
    written = json.loads((write(model, tokenizer, tmp_path) / "config.json").read_text())
    expected = {
        "n_group": 1, "topk_group": 1, "first_k_dense_replace": 2, "routed_scaling_factor": 1.5,
        "norm_topk_prob": True,
        "scoring_func": "sigmoid", "rope_interleave": True, "q_lora_rank": None,
        "tie_word_embeddings": False,
        "num_experts_per_tok": 3, "n_routed_experts": 6, "n_shared_experts": 1,
        "num_nextn_predict_layers": 0,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "vocab_size": len(tokenizer),
        "rms_norm_eps": 1e-6,
    }  # fmt: skip
    assert {key: written.get(key, "missing") for key in expected} == expected


def test_shrunk_checkpoints_export_as_float32(tokenizer, tmp_path):
    model = random_model(replace(SMALL, vocab_size=len(tokenizer)))

    def half(name, weight):
        return weight if name.endswith("bias_E") else weight.bfloat16()

    save_checkpoint(tmp_path / "half.pt", model, tokenizer, half)
    export(tmp_path / "half.pt", tmp_path / "hub")
    weights = safetensors.load_file(tmp_path / "hub" / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert torch.equal(weights["model.norm.weight"], model.norm.weight.detach().bfloat16().float())
    assert torch.equal(
        weights["model.layers.1.mlp.gate.e_score_correction_bias"], model.blocks[1].mixer.bias_E
    )


@pytest.mark.parametrize("settings", [{"mtp": True}, GQA | {"qkv_bias": True}], ids=str)
def test_the_parameters_are_counted(settings, tokenizer, tmp_path):
    """Those that learn by gradients: neither the router's bias nor what is left out."""
    model = Transformer(replace(SMALL, vocab_size=len(tokenizer), **settings))
    save_checkpoint(tmp_path / "model.pt", model, tokenizer)
    kept = [weight for name, weight in model.named_parameters() if not name.startswith("mtp_")]
    count = sum(weight.numel() for weight in kept)
    assert f", {count:,} parameters in float32" in export(tmp_path / "model.pt", tmp_path / "hub")


def test_main_prints_one_line(tokenizer, tmp_path, capsys):
    save_checkpoint(
        tmp_path / "model.pt", Transformer(replace(SMALL, vocab_size=len(tokenizer), mtp=True)),
        tokenizer,
    )
    main([str(tmp_path / "model.pt"), str(tmp_path / "deep" / "er")])
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert (
        "DeepseekV3ForCausalLM" in printed and "multi-token-prediction block is left out" in printed
    )
    assert f"AutoModelForCausalLM.from_pretrained('{tmp_path / 'deep' / 'er'}')" in printed
    files = {path.name for path in (tmp_path / "deep" / "er").iterdir()}
    assert files == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json",
    }


def test_faults_are_one_line(tokenizer, tmp_path, monkeypatch, capsys):
    def fault(*arguments) -> str:
        with pytest.raises(UserError) as caught:
            main([str(argument) for argument in arguments])
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no checkpoint at" in fault(tmp_path / "none.pt", tmp_path / "hub")
    assert not (tmp_path / "hub").exists()
    assert "required" in fault(tmp_path / "none.pt")
    assert "--nonsense" in fault("a", "b", "--nonsense")
    save_checkpoint(
        tmp_path / "model.pt", Transformer(replace(SMALL, vocab_size=len(tokenizer))), tokenizer
    )
    assert "cannot write" in fault(tmp_path / "model.pt", tmp_path / "model.pt")
    for settings in (
        {"attention": "gqa"}, {"norm_eps": 1e-5}, {"experts": 1, "top_k": 1}, GQA | {"heads": 6},
        {"tied": True}, {"rope_factor": 8.0}, GQA | {"qk_norm": True, "qkv_bias": True},
    ):
        model = Transformer(replace(SMALL, vocab_size=len(tokenizer), **settings))
        save_checkpoint(tmp_path / "odd.pt", model, tokenizer)
        assert "cannot export" in fault(tmp_path / "odd.pt", tmp_path / "hub")
    monkeypatch.setitem(__import__("sys").modules, "safetensors.torch", None)
    assert 'pip install -e ".[export]"' in fault(tmp_path / "model.pt", tmp_path / "hub")
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0 and "CHECKPOINT" in capsys.readouterr().out
