"""What tests of generators share."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.api import Context, Request
from harness_plugins.generators import strangers
from harness_plugins.generators.command import Command


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the program of a stranger's generator in this process, which saves the imports of another; what it sets is put back."""
    import torch

    class Here(Command):
        """Runs the program where it is."""

        def sample(self, request: Request, context: Context) -> Path:
            """Return the folder that the program filled."""
            out = context.workdir / "images"
            out.mkdir(parents=True)
            state, before, threads = np.random.get_state(), set(sys.modules), torch.get_num_threads()  # noqa: NPY002
            with monkeypatch.context() as patch, torch.random.fork_rng():
                patch.setattr(sys, "argv", ["-c", str(out)])
                patch.setattr(sys, "path", list(sys.path))
                patch.setattr(os, "environ", dict(os.environ))
                # Collecting what all libraries of the tests have made takes longer than a run.
                patch.setattr(gc, "collect", lambda: 0)
                patch.chdir(self.cwd)
                try:
                    exec(self.command[2], {})
                finally:
                    np.random.set_state(state)  # noqa: NPY002
                    torch.set_num_threads(threads)
                    for name in set(sys.modules) - before:
                        if name.startswith("medigan_") or name.split(".")[0] == "scripts":
                            del sys.modules[name]
            return out

    monkeypatch.setattr(strangers, "Command", Here)
