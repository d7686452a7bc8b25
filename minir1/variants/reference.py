"""The policy that a KL term holds on to."""

from minir1.config import RLConfig
from minir1.model import Transformer


class Reference:
    """First the base; then, every kl_refresh steps, the policy's weights as they are.

    `base` is changed then. Without a KL term it only measures the distance from the base, at
    validation steps.
    """

    def __init__(self, base: Transformer, model: Transformer, rl: RLConfig):
        self.held, self.model, self.rl = base, model, rl

    def __call__(self, step: int) -> Transformer | None:
        if self.rl.kl > 0 and step and step % self.rl.kl_refresh == 0:
            self.held.load_state_dict(self.model.state_dict())
        wanted = self.rl.kl > 0 or step % self.rl.evaluate_every == 0
        return self.held if wanted else None
