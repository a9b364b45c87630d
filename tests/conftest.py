from pathlib import Path

import pytest
import torch

from random_checkpoint import write_random_checkpoint

torch.set_num_threads(2)


@pytest.fixture(scope="session")
def random_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint directory with random weights, written by diffusers."""
    return write_random_checkpoint(tmp_path_factory.mktemp("checkpoint"))
