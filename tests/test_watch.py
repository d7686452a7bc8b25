"""What a person sees of a running phase: the last line after an interruption says how to go on, wherever it came."""

import pytest

from minir1.config import PretrainConfig
from minir1.console.errors import guard
from minir1.presets import PRESETS
from minir1.run.folder import Run
from minir1.run.progress import PretrainWatch


@pytest.mark.parametrize("updates", [0, 1, 9])
def test_an_interruption_is_told_on_the_last_line(tmp_path, capsys, updates):
    run = Run.start(tmp_path / "run", PRESETS["smoke"])

    def work(arguments):
        watch = PretrainWatch(run, PretrainConfig(), 0, 9, 0)
        with watch:
            for _ in range(updates):
                watch.bar.update()
                watch.bar.refresh()
            raise KeyboardInterrupt("interrupted; go on with: this")

    assert guard(work, [], "train_zero.py") == 130
    err = capsys.readouterr().err
    assert "pretrain" in err and err.splitlines()[-1] == "train_zero.py: interrupted; go on with: this"
