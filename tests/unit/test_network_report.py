"""The network report: each axis by itself, and the value at which it ends."""

from __future__ import annotations

from pathlib import Path

from offchain.simulation.network import Limit, as_text, network, with_keepers
from offchain.simulation.network_report import draw
from offchain.simulation.scenario import load
from offchain.simulation.sweeps import Job, Outcome, Store


def few_keepers_fail(job: Job) -> Outcome:
    keepers = int(dict(job.settings).get("keepers", "9"))
    debt = 100.0 if keepers < 2 + job.seed else 0.0
    return Outcome(job, not debt, (), {"insolvency": debt, "shortfall": 0.0})


def test_network__each_axis__ends_where_a_run_fails(tmp_path: Path) -> None:
    axes = {"chain.block_time": ("2s", "60s"), "keepers": ("4", "3", "2", "1")}
    store = Store(tmp_path / "runs.sqlite")
    slow, keepers = network(Job("black-thursday"), [0, 1], store, axes=axes, runner=few_keepers_fail)
    assert (slow.last, slow.first) == ("60s", "")
    assert keepers.solvent == {"4": 1.0, "3": 1.0, "2": 0.5, "1": 0.0}
    assert (keepers.last, keepers.first) == ("3", "2")
    assert "holds to 3, fails at 2" in as_text([slow, keepers])
    assert len(store) == 12


def test_network__an_error__is_not_solvent(tmp_path: Path) -> None:
    def broken(job: Job) -> Outcome:
        raise RuntimeError("no")

    (only,) = network(Job("x"), [0], Store(tmp_path / "s"), axes={"keepers": ("1",)}, runner=broken)
    assert (only.last, only.first) == ("", "1")
    assert "never holds" in as_text([only])


def test_with_keepers__own_in_turn__names_differ() -> None:
    scenario = load("black-thursday")
    many = with_keepers(scenario, len(scenario.keepers) + 1).keepers
    assert len({k.name for k in many}) == len(many) == len(scenario.keepers) + 1
    assert many[-1].capital == many[0].capital
    assert with_keepers(scenario, 0).keepers == ()


def test_draw__one_value_far_above_the_others__all_stay_within_their_axes() -> None:
    """Columns share an axis: what the last one has must not be cut off by what the first one had."""
    small = {"2s": {"bad_debt": 2_000.0, "latency_most": 600.0, "liquidations": 3.0}}
    large = {"4": {"bad_debt": 2_000.0, "latency_most": 600.0, "liquidations": 3.0},
             "0": {"bad_debt": 300_000.0, "latency_most": 0.0, "liquidations": 0.0}}  # fmt: skip
    limits = [
        Limit("chain.block_time", {"2s": 1.0}, "2s", "", small),
        Limit("keepers", {"4": 1.0, "0": 0.0}, "4", "0", large),
    ]
    panels = draw(limits).axes
    for column in panels[2:4]:
        assert column.get_ylim()[0] == 0
        assert column.get_ylim()[1] > 300_000
    latency = panels[5].get_lines()[0].get_xdata()
    assert list(latency) == [0], "nobody was liquidated without keepers: there is no latency to draw"
