import numpy as np
import pytest
import torch
from mmunlearn.diffusion.schedule import Schedule

from mmunlearn.errors import UserError

SD = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
    "set_alpha_to_one": False, "steps_offset": 1,
}  # fmt: skip


def draw(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, 2, 4, 4, generator=generator) for _ in range(2)]


def alphas():
    """Cumulative products by a loop in double precision (scaled linear betas)."""
    roots = np.linspace(0.00085**0.5, 0.012**0.5, 1000)
    product, result = 1.0, []
    for root in roots:
        product *= 1 - root**2
        result.append(product)
    return result


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_noise_target_and_conversions_agree_with_the_formulas(kind):
    schedule = Schedule(SD | {"prediction_type": kind}, flow=False)
    clean, noise = draw()
    t = torch.tensor([0, 400, 999])
    levels = alphas()
    latents = schedule.noised(clean, noise, t)
    for row, step in enumerate(t.tolist()):
        a, s = levels[step] ** 0.5, (1 - levels[step]) ** 0.5
        assert torch.allclose(latents[row], a * clean[row] + s * noise[row], atol=1e-5)
        wanted = {"epsilon": noise[row], "sample": clean[row], "v_prediction": a * noise[row] - s * clean[row]}[kind]
        assert torch.allclose(schedule.target(clean, noise, t)[row], wanted, atol=1e-5)
    target = schedule.target(clean, noise, t)
    # Dividing by the small rate magnifies rounding: times away from the ends.
    middle = torch.tensor([300, 400, 700])
    latents, target = schedule.noised(clean, noise, middle), schedule.target(clean, noise, middle)
    assert torch.allclose(noise, schedule.to_noise(target, latents, middle), atol=1e-4)
    assert torch.allclose(clean, schedule.to_clean(target, latents, middle), atol=1e-4)


def test_a_flow_is_a_straight_line_with_constant_velocity():
    schedule = Schedule({"shift": 3.0}, flow=True)
    clean, noise = draw()
    t = torch.tensor([0.0, 250.0, 1000.0])
    latents = schedule.noised(clean, noise, t)
    for row, sigma in enumerate((0.0, 0.25, 1.0)):
        assert torch.allclose((1 - sigma) * clean[row] + sigma * noise[row], latents[row])
    velocity = schedule.target(clean, noise, t)
    assert torch.equal(noise - clean, velocity)
    assert torch.allclose(noise, schedule.to_noise(velocity, latents, t), atol=1e-6)
    assert torch.allclose(clean, schedule.to_clean(velocity, latents, t), atol=1e-6)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddim_steps_equal_those_of_diffusers(kind, spacing):
    from diffusers import DDIMScheduler

    config = SD | {"prediction_type": kind, "timestep_spacing": spacing}
    other = DDIMScheduler.from_config(config)
    other.set_timesteps(10)
    solver = Schedule(config, flow=False).solver("ddim", 10)
    assert torch.equal(other.timesteps, solver.times)
    ours, _ = draw(1)
    theirs = ours.clone()
    for i, t in enumerate(other.timesteps):
        prediction = torch.randn(ours.shape, generator=torch.Generator().manual_seed(i))
        ours = solver.step(prediction, ours, i)
        theirs = other.step(prediction, t, theirs, eta=0.0).prev_sample
        assert torch.allclose(theirs, ours, atol=1e-5)


def test_a_perfect_model_leads_ddim_and_flow_back_to_the_picture():
    clean, noise = draw()
    for schedule, name in ((Schedule(SD, flow=False), "ddim"), (Schedule({"shift": 1.0}, flow=True), "flow")):
        solver = schedule.solver(name, 20)
        t = solver.times[0].expand(len(clean))
        latents = schedule.noised(clean, noise, t)
        for i, t in enumerate(solver.times):
            latents = solver.step(schedule.target(clean, noise, t.expand(len(clean))), latents, i)
        # Diffusion ends at the first level, where almost no noise is left, flow at the picture itself.
        assert torch.allclose(clean, latents, atol=0.15 if name == "ddim" else 1e-4)


def test_times_are_uniform_steps_or_shifted_logit_normal():
    uniform = (torch.arange(1000).double() + 0.5) / 1000
    steps = Schedule(SD, flow=False).times(uniform)
    assert list(range(1000)) == steps.tolist()
    flat, shifted = (Schedule({"shift": shift}, flow=True).times(uniform) for shift in (1.0, 3.0))
    assert float(flat.median()) == pytest.approx(500, abs=1)
    assert float(shifted.median()) == pytest.approx(750, abs=1)  # 3 * .5 / (1 + 2 * .5)
    assert 0 < float(flat.min()) and float(flat.max()) < 1000


def test_strata_are_the_middles_of_ten_stretches():
    made = Schedule(SD, flow=False).strata(torch.tensor([0.0, 0.05, 0.1, 0.999]))
    assert [50, 50, 150, 950] == made.tolist()


@pytest.mark.parametrize(("flow", "solver"), [(True, "ddim"), (False, "flow")])
def test_a_solver_of_another_kind_is_refused(flow, solver):
    schedule = Schedule({"shift": 1.0} if flow else SD, flow=flow)
    with pytest.raises(UserError, match="does not fit"):
        schedule.solver(solver, 4)


def test_unknown_predictions_and_lengths_are_refused():
    with pytest.raises(UserError, match="prediction_type"):
        Schedule(SD | {"prediction_type": "score"}, flow=False)
    with pytest.raises(UserError, match="500"):
        Schedule(SD | {"num_train_timesteps": 500}, flow=False)
