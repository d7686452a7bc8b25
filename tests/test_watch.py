"""What a person sees of a running phase: after an interruption the last line says how to go on."""

import pytest

from minir1.console.errors import guard
from minir1.presets import PRESETS
from minir1.run.folder import Run
from minir1.run.progress import Progress
from minir1.run.session import Session


@pytest.mark.parametrize("updates", [0, 1, 9])
def test_an_interruption_is_told_on_the_last_line(tmp_path, capsys, updates):
    run = Run.start(tmp_path / "run", PRESETS["smoke"])

    def work(arguments):
        watch = Progress(Session(run, None), "pretrain", 9)
        with watch:
            for _ in range(updates):
                watch.bar.update()
                watch.bar.refresh()
            raise KeyboardInterrupt("interrupted; go on with: this")

    assert guard(work, [], "train_zero.py") == 130
    err = capsys.readouterr().err
    assert "pretrain" in err
    assert err.splitlines()[-1] == "train_zero.py: interrupted; go on with: this"
