"""A packed checkpoint is a quarter of the size and loads like any other, close to what it was."""

import pytest
import torch

from minir1.__main__ import main
from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.config import CorpusConfig, ModelConfig
from minir1.corpus.mixture import sample_text
from minir1.hub.pack import pack
from minir1.model import Transformer
from minir1.tokenizer import Tokenizer


@pytest.mark.parametrize("shape", [(6, 40), (3, 6, 40)])
def test_error_is_at_most_half_a_step_of_the_row(shape):
    weight = (
        torch.randn(shape, generator=torch.Generator().manual_seed(0))
        * 10 ** torch.linspace(-4, 2, 6)[:, None]
    )
    values, scale = pack("blocks.0.x", weight)
    assert (
        values.dtype == torch.int8
        and values.shape == weight.shape
        and scale.shape == (*weight.shape[:-1], 1)
    )
    assert ((values * scale - weight).abs() <= scale * 0.5001).all()
    assert (values.abs().amax(-1) == 127).all()  # the whole range is used


def test_routers_norms_and_biases_stay_exact():
    for name, shape in (
        ("blocks.1.mixer.router", (4, 8)), ("norm.weight", (8,)), ("x.bias_E", (4,)),
    ):
        weight = torch.randn(shape)
        assert pack(name, weight) is weight


def test_command_writes_a_small_file_that_loads(tmp_path, capsys):
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(sample_text(CorpusConfig(), 0, 200), 400)
    model = Transformer(ModelConfig(vocab_size=448)).eval()
    save_checkpoint(tmp_path / "whole.pt", model, tokenizer)
    assert main(["pack", str(tmp_path / "whole.pt"), str(tmp_path / "packed.pt")]) == 0
    assert "MB" in capsys.readouterr().out
    assert (tmp_path / "packed.pt").stat().st_size < 0.3 * (tmp_path / "whole.pt").stat().st_size
    packed, same = load_checkpoint(tmp_path / "packed.pt")
    ids = torch.randint(448, (2, 20))
    assert packed.embed.weight.dtype == torch.float32 and same.to_text() == tokenizer.to_text()
    with torch.no_grad():
        assert 0 < (packed(ids) - model(ids)).norm() < 0.03 * model(ids).norm()
    assert main(["pack", str(tmp_path / "none.pt"), str(tmp_path / "x.pt")]) == 2
    assert main(["pack"]) == 2
