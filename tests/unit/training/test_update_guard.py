import io
import math

import pytest
import torch

from cogvideox.training.update_guard import UpdateGuard


def test_what_is_not_finite_is_refused_from_the_first_update() -> None:
    guard = UpdateGuard()
    for loss, norm in ((math.nan, 1.0), (1.0, math.nan), (math.inf, 1.0), (1.0, math.inf)):
        assert not guard.allows(loss, norm)
    assert guard.num_skipped == 4 and guard.allows(1.0, 1.0)


def test_spikes_are_refused_once_enough_is_known() -> None:
    guard = UpdateGuard(max_ratio=8.0)
    assert all(guard.allows(1.0, norm) for norm in (100.0, *[1.0] * 19))
    assert guard.allows(1.0, 8.0) and not guard.allows(1.0, 8.1)
    assert guard.allows(1.0, 1.0) and guard.num_skipped == 1


def test_a_refused_norm_does_not_become_usual_but_a_rising_one_does() -> None:
    guard = UpdateGuard(window=20, max_skipped=1000)
    for _ in range(20):
        guard.allows(1.0, 1.0)
    assert not any(guard.allows(1.0, 9.0) for _ in range(50))
    assert all(guard.allows(1.0, 1.1**step) for step in range(60))


def test_a_small_window_still_sees_spikes() -> None:
    guard = UpdateGuard(window=3)
    assert all(guard.allows(1.0, 1.0) for _ in range(3)) and not guard.allows(1.0, 9.0)


def test_too_many_refusals_in_a_row_end_the_run() -> None:
    guard = UpdateGuard(max_skipped=3)
    for _ in range(5):
        assert not any(guard.allows(math.nan, 1.0) for _ in range(3))
        assert guard.allows(1.0, 1.0)
    assert not any(guard.allows(1.0, math.inf) for _ in range(3))
    with pytest.raises(ValueError, match=r"4 updates in a row .* gradient norm of inf .*lower the learning rate"):
        guard.allows(1.0, math.inf)


def test_a_restored_guard_decides_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    norms = torch.randn(200, generator=generator).exp().mul(3).tolist()
    whole, first, second = UpdateGuard(2.0), UpdateGuard(2.0), UpdateGuard(2.0)
    wanted = [whole.allows(1.0, norm) for norm in norms]
    made = [first.allows(1.0, norm) for norm in norms[:90]]
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    made += [second.allows(1.0, norm) for norm in norms[90:]]
    assert made == wanted and 0 < second.num_skipped == whole.num_skipped
    assert second.state_dict() == whole.state_dict()


def test_settings_out_of_range() -> None:
    with pytest.raises(ValueError, match="max_ratio"):
        UpdateGuard(max_ratio=1.0)


def test_what_is_usual_is_learned_anew_when_something_else_is_trained_on() -> None:
    guard = UpdateGuard()
    assert all(guard.allows(1.0, 1.0) for _ in range(30))
    assert not guard.allows(1.0, 20.0)
    guard.forget()
    assert all(guard.allows(1.0, 20.0) for _ in range(30))
    assert guard.num_skipped == 1
