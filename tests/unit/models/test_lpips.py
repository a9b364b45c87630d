"""LPIPS: the published formula, the files it is read from, and gradients where nothing is active."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from cogvideox.errors import CheckpointError
from cogvideox.models.lpips import Lpips

TORCHVISION_LAYERS = {
    0: (3, 64),
    2: (64, 64),
    5: (64, 128),
    7: (128, 128),
    10: (128, 256),
    12: (256, 256),
    14: (256, 256),
    17: (256, 512),
    19: (512, 512),
    21: (512, 512),
    24: (512, 512),
    26: (512, 512),
    28: (512, 512),
}
"""Number and channels of each convolution of VGG16."""
COMPARED_LAYERS = (2, 7, 14, 21, 28)


def random_backbone() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for number, (num_in, num_out) in TORCHVISION_LAYERS.items():
        shape = (num_out, num_in, 3, 3)
        weights[f"features.{number}.weight"] = torch.randn(shape, generator=generator) * (2 / (9 * num_in)) ** 0.5
        weights[f"features.{number}.bias"] = torch.randn(num_out, generator=generator) * 0.1
    return weights | {"classifier.6.bias": torch.zeros(1000)}


def random_heads() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    widths = [TORCHVISION_LAYERS[number][1] for number in COMPARED_LAYERS]
    return {
        f"lin{i}.model.1.weight": torch.rand((1, width, 1, 1), generator=generator) for i, width in enumerate(widths)
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("lpips")
    torch.save(random_backbone(), folder / "vgg16.pth")
    torch.save(random_heads(), folder / "vgg.pth")
    return folder / "vgg16.pth", folder / "vgg.pth"


@pytest.fixture(scope="module")
def lpips(files) -> Lpips:
    return Lpips.load(*files)


def pictures(num: int, seed: int) -> torch.Tensor:
    return torch.rand((num, 3, 24, 38), generator=torch.Generator().manual_seed(seed)) * 2 - 1


def plain_distance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the distance of two pictures (3, H, W), written out from the published code, in float64."""
    backbone, heads = random_backbone(), random_heads()
    shift = torch.tensor([-0.030, -0.088, -0.188], dtype=torch.float64).view(3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450], dtype=torch.float64).view(3, 1, 1)

    def features(picture: torch.Tensor) -> list[torch.Tensor]:
        x, compared = ((picture.double() - shift) / scale)[None], []
        for number in TORCHVISION_LAYERS:
            if number in (5, 10, 17, 24):
                x = functional.max_pool2d(x, kernel_size=2, stride=2)
            weight, bias = (backbone[f"features.{number}.{name}"].double() for name in ("weight", "bias"))
            x = functional.conv2d(x, weight, bias, padding=1).relu()
            if number in COMPARED_LAYERS:
                compared.append(x[0] / ((x[0] ** 2).sum(0).sqrt() + 1e-10))
        return compared

    total = torch.zeros((), dtype=torch.float64)
    for layer, (one, other) in enumerate(zip(features(first), features(second), strict=True)):
        weights = heads[f"lin{layer}.model.1.weight"].double().view(-1, 1, 1)
        total += (weights * (one - other) ** 2).sum(0).mean()
    return total


def test_it_is_the_published_formula(lpips) -> None:
    first, second = pictures(2, 0), pictures(2, 1)
    distances = lpips(first, second)
    expected = torch.stack([plain_distance(*pair) for pair in zip(first, second, strict=True)])
    assert distances.shape == (2,) and distances.dtype == torch.float32
    torch.testing.assert_close(distances.double(), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(lpips(second, first), distances)
    assert lpips(first, first).tolist() == [0, 0]


def test_pictures_get_gradients_and_weights_do_not(lpips) -> None:
    first, second = pictures(1, 0).requires_grad_(), pictures(1, 1)
    lpips(first, second).sum().backward()
    step = 0.05 * first.grad / first.grad.norm()
    assert lpips((first - step).detach(), second) < lpips(first, second)
    assert not any(parameter.requires_grad for parameter in lpips.parameters())


def test_gradients_are_finite_where_no_channel_is_active(files) -> None:
    lpips = Lpips.load(*files)
    for number in TORCHVISION_LAYERS:
        lpips.features.get_parameter(f"{number}.bias").fill_(-100)
    first = pictures(1, 0).requires_grad_()
    distance = lpips(first, pictures(1, 1))
    distance.sum().backward()
    assert distance.item() == 0 and first.grad is not None and torch.isfinite(first.grad).all()


def test_safetensors_and_half_precision(lpips, tmp_path) -> None:
    save_file(random_backbone(), tmp_path / "a.safetensors")
    save_file(random_heads(), tmp_path / "b.safetensors")
    first, second = pictures(1, 0), pictures(1, 1)
    same = Lpips.load(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert torch.equal(same(first, second), lpips(first, second))
    half = Lpips.load(tmp_path / "a.safetensors", tmp_path / "b.safetensors", dtype="bfloat16")
    distance = half(first.bfloat16(), second.bfloat16())
    assert distance.dtype == torch.float32
    torch.testing.assert_close(distance, lpips(first, second), rtol=0.05, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("absent", "no such file; expected the state dict of torchvision's VGG16"),
        ("text", "damaged, or no file of weights"),
        ("empty", "damaged, or no file of weights"),
        ("cut", "damaged, or no file of weights"),
        ("code", "damaged, or no file of weights"),
        ("safetensors", "damaged, or no file of weights"),
        ("list", "expected a dictionary of tensors"),
        ("fewer", "no weight features.28.bias"),
        ("more", "unexpected weight features.30.weight"),
        ("other", "weight features.0.weight: expected shape"),
    ],
)
def test_wrong_files_are_named(change, message, files, tmp_path) -> None:
    file = tmp_path / ("a.safetensors" if change == "safetensors" else "a.pth")
    weights = random_backbone()
    if change in ("text", "safetensors"):
        file.write_text("hello, this is no file of weights")
    elif change == "empty":
        file.touch()
    elif change == "cut":
        file.write_bytes(files[0].read_bytes()[:-1000])
    elif change == "code":
        torch.save({"features.0.weight": Path("a")}, file)
    elif change == "list":
        torch.save(list(weights.values())[:1], file)
    elif change == "fewer":
        del weights["features.28.bias"]
        torch.save(weights, file)
    elif change in ("more", "other"):
        torch.save(weights | {f"features.{30 if change == 'more' else 0}.weight": torch.zeros(2)}, file)
    with pytest.raises(CheckpointError, match=message) as caught:
        Lpips.load(file, files[1])
    assert str(file) in str(caught.value)


def test_heads_of_another_network_are_refused(files, tmp_path) -> None:
    alex = {f"lin{i}.model.1.weight": torch.zeros(1, width, 1, 1) for i, width in enumerate((64, 192, 384, 256, 256))}
    torch.save(alex, tmp_path / "alex.pth")
    with pytest.raises(CheckpointError, match=r"alex\.pth: weight lin1.model.1.weight: .*vgg\.pth"):
        Lpips.load(files[0], tmp_path / "alex.pth")
    with pytest.raises(CheckpointError, match=r"no weight lin0.model.1.weight"):
        Lpips.load(files[0], files[0])


@pytest.mark.parametrize("shapes", [((1, 3, 16, 15),) * 2, ((3, 16, 16),) * 2, ((1, 3, 16, 16), (2, 3, 16, 16))])
def test_shapes_are_checked(lpips, shapes) -> None:
    with pytest.raises(ValueError, match="first, second: expected two tensors"):
        lpips(*map(torch.zeros, shapes))
