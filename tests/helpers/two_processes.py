"""What `_util/test_distributed` lets torchrun do in two processes, and then itself in one."""

import signal
import sys
from pathlib import Path

import torch

import linfkit as lk
from linfkit._util.distributed import exchanging_gradients, join, local_slice, rank
from linfkit.nn.layers import MeanShift
from linfkit.training.building import build_model
from linfkit.training.loop import Training
from linfkit.training.objective import Objective
from linfkit.training.schedules import ScheduleState

SETTINGS = {
    "epochs": 2,
    "width": 16,
    "train_images": 203,  # the last batch has 11: shares of 5 and 6
    "test_images": 100,
    "batch_size": 64,
    "crop_padding": 1,
    "flip": True,
    # else a layer begins as a shift, which the mean shift behind it takes off: Adam would divide
    # gradients that are nothing but rounding by their own size
    "identity_start": False,
}
SMALL = lk.load_recipe("digits-small").replace(**SETTINGS)

OBJECTIVES = {
    "mixed": {},
    "hinge, whose scalar has no gradient": {"loss": "hinge"},
    "joint ensemble, of whose scalars one is used": {"members": 2},
    "hybrid": {"mlp_hidden": 6, "loss": "cross_entropy", "worst_share": 0.5},
    "convolutions": {"model": "lenet", "depth": 0, "width": 2},
}
ROWS = 7  # shares of 3 and 4


def exchanged(changes):
    """The loss, gradients and running means of a batch that the processes share, in float64."""
    recipe = SMALL.replace(**changes)
    torch.manual_seed(0)
    net = build_model(recipe, (1, 28, 28), classes=10, mean=0.3, scale=0.4).double()
    net.p = 8
    scalar = next(w for name, w in net.named_parameters() if name.endswith("logit_scale"))
    objective = exchanging_gradients(Objective(net, recipe, scalar))
    x, labels = torch.rand(ROWS, 1, 28, 28, dtype=torch.float64), torch.arange(ROWS)
    mine, schedule = local_slice(ROWS), ScheduleState(p=8.0, lam=0.05, eps=0.1, learning_rate=0.01)
    for _ in range(2):  # only the second time are gradients sent while others are computed
        net.zero_grad()
        _, _, loss = objective(x[mine], labels[mine], schedule)
        loss.backward()
    found = {name: w.grad for name, w in net.named_parameters() if w.grad is not None}
    means = [module.running_mean for module in net.modules() if isinstance(module, MeanShift)]
    return found | {"loss": loss.detach(), "running means": torch.cat(means)}


def interrupt_the_second(step):
    """From here on, Ctrl-C reaches the second process alone, in that step."""
    take_step = Training._take_step

    def interrupted(training):
        if rank() == 1 and training.step == step:
            signal.raise_signal(signal.SIGINT)
        take_step(training)

    Training._take_step = interrupted


def main(folder):
    join(torch.device("cpu"))
    name = f"{rank()}.pt"
    torch.save([exchanged(changes) for changes in OBJECTIVES.values()], folder / name)
    interrupt_the_second(step=5)
    logged = []
    try:
        lk.fit(SMALL, out=folder / "run", device="cpu", checkpoint_every=1e9)
    except KeyboardInterrupt:
        logged.append("stopped")
    again = lk.fit(SMALL, out=folder / "run", device="cpu", after_epoch=logged.append)
    states = [again.model.state_dict(), again.ema_model.state_dict()]
    torch.save((states, again.history, logged), folder / f"run-{name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
