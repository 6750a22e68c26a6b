"""The step size finds the acceptance that it aims at, for each observation by itself."""

import torch

from physgen.inversions.step_size import StepSize, mean_acceptance, often_excluded


def acceptance(step):
    """Falls with the step, as that of a leapfrog in many dimensions does: 0.8 at steps of 0.5 and 0.05."""
    return torch.special.erfc(0.1791 * (step / torch.tensor([0.5, 0.05])) ** 2)


def test_the_aim_is_found_and_kept_by_each_observation():
    steps = StepSize.of(torch.zeros(2, 4, 16), aim=0.8)
    assert torch.allclose(steps.now, torch.tensor([0.5, 0.5]))  # 16^(-1/4)
    for _ in range(200):
        steps.update(acceptance(steps.now))
    assert torch.allclose(acceptance(steps.settled), torch.tensor([0.8, 0.8]), atol=0.02)
    one = steps.select(torch.tensor([1]))
    assert torch.equal(one.settled, steps.settled[1:])
    one.restart()
    assert torch.equal(one.now, torch.tensor([0.5]))
    for _ in range(200):
        one.update(acceptance(one.now.expand(2))[1:])
    assert torch.allclose(one.settled, steps.settled[1:], rtol=0.1)


def test_means_of_acceptance_leave_out_what_the_prior_excludes():
    accept = torch.tensor([[0.5, 1.0, torch.nan], [torch.nan] * 3, [0.0, 1.0, 1.0]])
    assert torch.allclose(mean_acceptance(accept, aim=0.8), torch.tensor([0.75, 0.8, 2 / 3]))
    harmonic = mean_acceptance(accept, aim=0.8, harmonic=True)
    assert torch.allclose(harmonic, torch.tensor([2 / 3, 0.8, 3 / 12]))
    assert often_excluded(accept).tolist() == [False, True, False]
