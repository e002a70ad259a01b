"""Runners in the place of the laboratory: what other processes can import."""

from __future__ import annotations

import os
import signal

import numpy as np

from offchain.simulation.sweeps import Job, Outcome


def model(job: Job) -> Outcome:
    """A market in which more margin means less debt, and some seeds are bad."""
    settings = dict(job.settings)
    factor = float(settings.get("im_factor", 1.25))
    seed = np.random.default_rng([job.seed, 5]).uniform()
    debt = max(0.0, 40_000 * (1.45 - factor) * seed - 1_000)
    figures = {
        "margin_per_notional": 0.12 * factor * (1 + 0.05 * seed), "bad_debt": debt, "insolvency": max(debt - 6_000, 0),
        "liquidated_notional": 5e5 * (2 - factor) * (0.5 + seed), "cascade": 0.02 * (2 - factor) * seed,
    }  # fmt: skip
    failed = ("debts are covered",) if figures["insolvency"] else ()
    return Outcome(job, not failed, failed, figures, f"{job.seed}", 0.5)


def sometimes_fails(job: Job) -> Outcome:
    """Seed 3 is a bug."""
    if job.seed == 3:
        raise ZeroDivisionError("margin of nothing")
    return model(job)


def sometimes_dies(job: Job) -> Outcome:
    """Seed 2 kills its process."""
    if job.seed == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return model(job)
