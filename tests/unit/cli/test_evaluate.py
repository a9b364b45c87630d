"""``evaluate`` prints the tables of whatever generator it loads."""

import copy
import json
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch

from cogvideox.cli import evaluate
from cogvideox.configs import AutoencoderConfig
from cogvideox.data import stage_world
from cogvideox.evaluation import prompt_following as scoring
from cogvideox.evaluation.judge import Judge, JudgeConfig
from cogvideox.generation import generator as generator_module
from cogvideox.models.autoencoder import VideoAutoencoder


class FakeTransformer(torch.nn.Linear):
    def __init__(self, config):
        super().__init__(config, config)
        self.config = config


class FakeGenerator:
    """Makes grey clips; remembers what it was asked for."""

    calls: ClassVar[list] = []

    def __init__(self):
        config = AutoencoderConfig(
            block_out_channels=(4, 4, 4, 4), layers_per_block=1, norm_num_groups=4, latent_channels=4
        )
        self.transformer = FakeTransformer(4)
        self.autoencoder = VideoAutoencoder(config)

    @classmethod
    def load(cls, model):
        assert model == "tiny"
        return cls()

    def with_transformer(self, transformer):
        twin = copy.copy(self)
        twin.transformer = transformer
        return twin

    def text_to_videos(self, prompts, seeds, **options):
        self.calls.append((self.transformer, list(seeds), options))
        return [SimpleNamespace(frames=np.full((17, 64, 96, 3), 90, dtype=np.uint8)) for _ in prompts]


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    art, prompts = stage_world.draw_simple_art(), scoring.read_prompts()
    few = [prompt for prompt in prompts if prompt.actor in art.actors][:6]
    FakeGenerator.calls = []
    monkeypatch.setattr(generator_module, "VideoGenerator", FakeGenerator)
    monkeypatch.setattr(stage_world, "load_fluent_art", lambda: art)
    monkeypatch.setattr(scoring, "read_prompts", lambda: few)
    monkeypatch.setattr(Judge, "load", lambda: Judge(JudgeConfig(widths=(8, 8, 8, 8))))


def test_prompt_following_ends_with_json(capsys):
    assert evaluate.prompt_following(num_prompts=6, num_untrained=2, batch_size=4, seed=7, num_steps=3, json=True) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["ok"] is True
    assert set(result["data"]["rows"]) == {"model", "prompts shuffled", "untrained weights", "real renders"}
    assert [seeds for _, seeds, _ in FakeGenerator.calls] == [[7, 8, 9, 10], [11, 12], [7, 8]]
    trained, untrained = FakeGenerator.calls[0][0], FakeGenerator.calls[-1][0]
    assert trained is FakeGenerator.calls[1][0] is not untrained
    assert FakeGenerator.calls[0][2]["num_steps"] == 3


def test_prompt_following_prints_a_table(capsys):
    evaluate.prompt_following(num_prompts=2, num_untrained=0)
    table = capsys.readouterr().out
    assert "real renders" in table and "required" in table
    assert "untrained" not in table


def test_reconstruction_ends_with_json(capsys):
    evaluate.reconstruction(num_clips=1, json=True)
    assert json.loads(capsys.readouterr().out)["data"]["num_clips"] == 1


@pytest.mark.parametrize("arguments", [{"num_prompts": 1}, {"num_prompts": 7}, {"num_prompts": 2, "num_untrained": -1}])
def test_numbers_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match="--num-"):
        evaluate.prompt_following(**arguments)


def test_the_untrained_copy_has_other_weights_and_leaves_the_original_and_the_rng_alone():
    generator = FakeGenerator()
    before, state = generator.transformer.weight.clone(), torch.get_rng_state()
    untrained = evaluate.untrained_copy(generator)  # pyright: ignore[reportArgumentType]
    again = evaluate.untrained_copy(generator)  # pyright: ignore[reportArgumentType]
    assert not torch.equal(untrained.transformer.weight, before)
    assert torch.equal(untrained.transformer.weight, again.transformer.weight)
    assert torch.equal(generator.transformer.weight, before)
    assert untrained.autoencoder is generator.autoencoder
    assert torch.equal(torch.get_rng_state(), state)
