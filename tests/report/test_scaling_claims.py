from __future__ import annotations

from typing import Any

import msgspec
import pytest

from layerbench.records import Record
from layerbench.report import scaling_claims, type_times
from layerbench.report.finding import FAILS, HOLDS, UNKNOWN, Finding
from layerbench.report.tables import Tables
from tests.report import observed

FALLING = {1: 8.0, 2: 4.5, 4: 3.0}


def running_time(tables: Tables) -> Finding:
    return scaling_claims.running_time(type_times.of(tables))


def speed_up(tables: Tables) -> Finding:
    return scaling_claims.speed_up(type_times.of(tables))


def scales_best(tables: Tables) -> Finding:
    return scaling_claims.scales_best(type_times.of(tables))


def dominates(tables: Tables) -> Finding:
    return scaling_claims.dominates(type_times.of(tables), tables)


def test_every_type_has_to_fall() -> None:
    falls = running_time(observed.tables_of({"conv": FALLING, "fc": FALLING}, width=0.08))
    assert falls.verdict == HOLDS
    assert falls.evidence.startswith("conv falls at every step, from 8 s ± 1 % at 1 node to 3 s ± 2.7 % at 4 nodes; fc")
    rises = running_time(observed.tables_of({"conv": FALLING, "fc": {1: 1.0, 2: 3.0, 4: 2.0}}))
    assert rises.verdict == FAILS
    assert "conv falls at every step" in rises.evidence
    assert "fc rises from 1 s ± 0 % at 1 node to 3 s ± 0 % at 2 nodes" in rises.evidence


@pytest.mark.parametrize(("width", "verdict"), [(0.0625, HOLDS), (0.125, UNKNOWN), (0.25, UNKNOWN)])
def test_intervals_that_touch_are_not_told_apart(width: float, verdict: str) -> None:
    finding = running_time(observed.tables_of({"conv": {1: 1.0, 2: 0.75}}, width=width))
    assert finding.verdict == verdict
    assert ("cannot be told apart" in finding.evidence) == (verdict == UNKNOWN)
    assert ("--rel-error" in finding.remedy) == (verdict == UNKNOWN)


def test_a_rise_too_slow_to_show_at_any_step_shows_over_several() -> None:
    finding = running_time(observed.tables_of({"fc": {1: 1.0, 2: 1.125, 4: 1.25}}, width=0.0625))
    assert finding.verdict == FAILS
    assert "at 1 node to 1.25 s ± 5 % at 4 nodes" in finding.evidence


def test_a_rise_of_one_type_outweighs_doubt_of_another() -> None:
    steps = {"conv": {1: 1.0, 2: 1.0}, "fc": {1: 1.0, 2: 2.0}}
    assert running_time(observed.tables_of(steps, width=0.125)).verdict == FAILS


def test_a_time_is_not_meant_to_fall_in_weak_scaling() -> None:
    finding = running_time(observed.tables_of({"conv": FALLING}, scaling="weak"))
    assert finding.verdict == UNKNOWN
    assert finding.remedy == "run with --scaling strong"


def test_one_count_says_nothing_of_scaling() -> None:
    tables = observed.tables_of({kind: {1: 1.0} for kind in observed.LAYERS}, width=0.01)
    for judge in (running_time, speed_up, scales_best, dominates):
        finding = judge(tables)
        assert finding.verdict == UNKNOWN
        assert finding.remedy == "run with several counts, such as --nodes 1,2,4,8"


def test_a_type_that_failed_somewhere_is_judged_by_the_rest_of_its_counts() -> None:
    tables = observed.tables_of({"conv": FALLING, "fc": {1: 3.0, 4: 2.0}})
    assert running_time(tables).verdict == HOLDS
    assert type_times.of(tables).gaps() == "There is no lstm in the suite and no time of fc at 2 nodes"


def test_a_type_that_failed_at_all_counts_but_one_leaves_it_open() -> None:
    finding = running_time(observed.tables_of({"conv": FALLING, "fc": {2: 3.0}}))
    assert finding.verdict == UNKNOWN
    assert "fc has a time at 2 nodes only" in finding.evidence
    assert finding.remedy == "complete the run with --resume"


def test_a_batch_that_is_too_small_is_to_be_larger() -> None:
    tables = observed.tables_of({"conv": {1: 1.0, 2: 0.5, 8: 0.4}, "fc": {1: 1.0}}, batch=4)
    assert running_time(tables).remedy == "run with a --batch of at least 8"


def test_what_no_kernel_does_needs_another() -> None:
    def change(record: Record) -> Record:
        skipped = record.kind == "fc" and record.nodes > 1
        return msgspec.structs.replace(record, status="skipped") if skipped else record

    tables = observed.tables_of({"conv": FALLING, "fc": {1: 1.0}}, change=change)
    assert running_time(tables).remedy == "run with other --kernels"


def test_lost_node_time_in_strong_scaling() -> None:
    # 4 · 3 - 8 = 4 s, of which 4 · 0.5 = 2 s.
    finding = speed_up(observed.tables_of({"conv": FALLING}, {"conv": {4: 0.5}}))
    assert finding.verdict == HOLDS
    assert "an efficiency of 66.7 % (66.7 % to 66.7 %) at 4 nodes" in finding.evidence
    assert "4 s of node time lost a step, 50.0 % of that to communication and waiting, the rest" in finding.evidence


def test_lost_node_time_from_a_base_of_two_nodes() -> None:
    # 4 · 3 - 2 · 4 = 4 s, of which 4 · 0.5 - 2 · 0.25 = 1.5 s.
    finding = speed_up(observed.tables_of({"fc": {2: 4.0, 4: 3.0}}, {"fc": {2: 0.25, 4: 0.5}}))
    assert finding.verdict == HOLDS
    assert "66.7 %" in finding.evidence
    assert "4 s of node time lost a step, 37.5 % of that" in finding.evidence


def test_lost_node_time_in_weak_scaling() -> None:
    # 4 · (2 - 1) = 4 s, of which 4 · 0.25 = 1 s.
    finding = speed_up(observed.tables_of({"fc": {1: 1.0, 4: 2.0}}, {"fc": {4: 0.25}}, scaling="weak"))
    assert finding.verdict == HOLDS
    assert "an efficiency of 50.0 %" in finding.evidence
    assert "4 s of node time lost a step, 25.0 % of that" in finding.evidence


def test_communication_may_cost_more_than_was_lost() -> None:
    # 4 · 2.5 - 8 = 2 s, and 4 · 1 = 4 s of communication.
    finding = speed_up(observed.tables_of({"conv": {1: 8.0, 4: 2.5}}, {"conv": {4: 1.0}}))
    assert "2 s of node time lost a step, 200.0 % of that" in finding.evidence
    assert "computation became more efficient" in finding.evidence


def test_communication_may_have_shrunk_since_the_base() -> None:
    # 4 · 0.25 is less than 2 · 1.
    finding = speed_up(observed.tables_of({"fc": {2: 4.0, 4: 3.0}}, {"fc": {2: 1.0, 4: 0.25}}))
    assert "4 s of node time lost a step, all of it to less efficient computation" in finding.evidence


def test_a_lost_exchange_explains_nothing() -> None:
    def change(record: Record) -> Record | None:
        return None if record.part == "communication" else record

    tables = observed.tables_of({"fc": FALLING}, change=change)
    assert speed_up(tables).verdict == HOLDS
    assert "cannot be said without a time of the communication" in speed_up(tables).evidence
    assert dominates(tables).verdict == UNKNOWN


@pytest.mark.parametrize(
    ("at_four", "width", "verdict"),
    [(2.0, 0.0625, UNKNOWN), (1.9, 0.01, FAILS), (2.1, 0.01, HOLDS), (2.1, 0.2, UNKNOWN)],
)
def test_speed_up_is_judged_by_the_interval_of_efficiency(at_four: float, width: float, verdict: str) -> None:
    finding = speed_up(observed.tables_of({"conv": {1: 8.0, 4: at_four}}, width=width))
    assert finding.verdict == verdict
    assert ("node time lost" in finding.evidence) == (verdict == HOLDS)
    assert ("superlinear" in finding.evidence) == (verdict == FAILS)


def test_superlinear_at_one_count_is_not_sublinear() -> None:
    finding = speed_up(observed.tables_of({"conv": {1: 8.0, 2: 3.2, 4: 4.0}}, {"conv": {4: 1.0}}))
    assert finding.verdict == FAILS
    assert "superlinear with an efficiency of 125.0 % (125.0 % to 125.0 %) at 2 nodes, and an" in finding.evidence
    assert "50.0 % (50.0 % to 50.0 %) at 4 nodes, with 8 s of node time lost a step, 50.0 %" in finding.evidence


def test_a_figure_close_to_its_limit_has_the_decimals_that_show_it() -> None:
    finding = speed_up(observed.tables_of({"conv": {1: 8.0, 4: 2.0002}}))
    assert "an efficiency of 99.99 % (99.99 % to 99.99 %)" in finding.evidence


@pytest.mark.parametrize(
    ("at_four", "verdict"), [(1.9, FAILS), (1.96, UNKNOWN), (2.0, UNKNOWN), (2.04, UNKNOWN), (2.1, HOLDS)]
)
def test_what_launches_differ_by_is_no_difference(at_four: float, verdict: str) -> None:
    assert speed_up(observed.tables_of({"conv": {1: 8.0, 4: at_four}})).verdict == verdict


@pytest.mark.parametrize(("at_two", "verdict"), [(1.04, FAILS), (1.02, UNKNOWN), (0.98, UNKNOWN), (0.96, HOLDS)])
def test_nor_is_it_a_rise_or_a_fall(at_two: float, verdict: str) -> None:
    assert running_time(observed.tables_of({"conv": {1: 1.0, 2: at_two}})).verdict == verdict


def test_a_type_without_the_base_has_no_speed_up() -> None:
    finding = speed_up(observed.tables_of({"conv": FALLING, "fc": {2: 2.0, 4: 1.5}}))
    assert finding.verdict == UNKNOWN
    assert "fc has no speed-up, but times at 2 node counts" in finding.evidence
    assert finding.remedy == "complete the run with --resume"


# Efficiency at 4 nodes: 8 / (4 · t).
@pytest.mark.parametrize(
    ("lstm", "verdict"), [(4.0, HOLDS), (2.25, UNKNOWN), (2.0, FAILS)], ids=["50 %", "88.9 %", "100 %"]
)
def test_convolution_is_compared_with_each_other_type(lstm: float, verdict: str) -> None:
    steps = {"conv": {1: 8.0, 4: 2.2}, "fc": {1: 8.0, 4: 8.0}, "lstm": {1: 8.0, 4: lstm}}
    finding = scales_best(observed.tables_of(steps, width=0.05))
    assert finding.verdict == verdict
    assert finding.evidence.startswith("The efficiency at 4 nodes is 90.9 % (")
    assert ("conv cannot be told apart from lstm" in finding.evidence) == (verdict == UNKNOWN)


def test_types_are_compared_at_the_largest_count_they_share() -> None:
    steps = {"conv": {1: 8.0, 2: 4.0, 4: 8.0}, "fc": {1: 8.0, 2: 5.0}}
    finding = scales_best(observed.tables_of(steps))
    assert finding.verdict == HOLDS
    assert "at 2 nodes is 100.0 % (100.0 % to 100.0 %) of conv and 80.0 %" in finding.evidence


def test_convolution_is_not_the_best_of_one() -> None:
    for kind in ("conv", "fc"):
        finding = scales_best(observed.tables_of({kind: FALLING}))
        assert finding.verdict == UNKNOWN
        assert finding.remedy.startswith("run a suite that has ")


def test_a_type_that_failed_leaves_open_which_scales_best() -> None:
    better = {"conv": {1: 8.0, 2: 4.0}, "fc": {1: 8.0, 2: 6.0}, "lstm": {}}
    finding = scales_best(observed.tables_of(better))
    assert finding.verdict == UNKNOWN
    assert finding.remedy == "complete the run with --resume"
    worse = {**better, "conv": {1: 8.0, 2: 7.0}}
    assert scales_best(observed.tables_of(worse)).verdict == FAILS


def shares(conv: float, fc: float, lstm: float, **more: Any) -> Tables:
    steps = {kind: {1: 4.0, 4: 1.0} for kind in observed.LAYERS}
    return observed.tables_of(steps, {"conv": {4: conv}, "fc": {4: fc}, "lstm": {4: lstm}}, **more)


@pytest.mark.parametrize(
    ("conv", "fc", "lstm", "verdict", "words"),
    [
        (0.25, 0.75, 0.625, HOLDS, "lstm. A rank"),
        (0.25, 0.75, 0.125, FAILS, "; of lstm the opposite was observed. "),
        (0.75, 0.75, 0.125, FAILS, "; of conv and lstm the opposite was observed. "),
        (0.25, 0.5, 0.625, UNKNOWN, "nothing can be said of fc"),
        (0.5, 0.25, 0.625, FAILS, "; of fc the opposite was observed; nothing can be said of conv. "),
    ],
)
def test_shares_of_communication(conv: float, fc: float, lstm: float, verdict: str, words: str) -> None:
    finding = dominates(shares(conv, fc, lstm))
    assert finding.verdict == verdict
    assert words in finding.evidence
    # Three passes of 4 samples: 3 · 4 · 100 pixels, 1 or 5 time steps, over 4 bytes of gradient for each weight.
    assert "A rank with a batch of 4 has 300 of conv, 3 of fc and 15 of lstm training MACs" in finding.evidence


def test_a_share_whose_interval_has_a_half_in_it_says_nothing() -> None:
    # 0.55 s ± 0.08 s of 1 s ± 0.08 s: at least 0.55 · exp(-√(log²(0.55 / 0.47) + log²(1 / 1.08))) = 0.462.
    finding = dominates(shares(0.25, 0.75, 0.55, width=0.08))
    assert finding.verdict == UNKNOWN
    assert "55.0 % (46.2 % to " in finding.evidence
    assert "75.0 % of a step of fc" in finding.evidence


def test_without_one_of_the_types_the_whole_cannot_hold() -> None:
    steps = {"conv": {2: 1.0}, "fc": {2: 1.0}}
    finding = dominates(observed.tables_of(steps, {"conv": {2: 0.1}, "fc": {2: 0.9}}))
    assert finding.verdict == UNKNOWN
    assert finding.remedy == "run a suite that has lstm"
    failing = dominates(observed.tables_of(steps, {"conv": {2: 0.1}, "fc": {2: 0.2}}))
    assert failing.verdict == FAILS


def test_emulated_counts_are_marked_and_name_their_model() -> None:
    tables = shares(0.25, 0.75, 0.625, measured=2)
    for judge in (running_time, speed_up, scales_best, dominates):
        finding = judge(tables)
        assert "at 4 nodes (emulated)" in finding.evidence
        assert "at 1 node (emulated)" not in finding.evidence
        told = type_times.of(tables).caveats(finding.rows, ("step",))
        assert told == "This rests on the network model this-machine (median residual of its fit 8.0 %)"
    assert "and waiting" not in speed_up(tables).evidence


def test_a_noisy_record_is_told_where_it_decides() -> None:
    steps = {"conv": FALLING, "fc": {1: 1.0, 2: 3.0}}
    for layer, told in (("f", "This rests on noisy records (fc at 2 nodes)"), ("c", "")):
        tables = observed.tables_of(steps, change=observed.noisy(layer, 2))
        finding = running_time(tables)
        assert type_times.of(tables).caveats(finding.rows, ("step",)) == told


def test_a_noisy_exchange_is_told_where_communication_decides() -> None:
    tables = shares(0.25, 0.75, 0.625, change=observed.noisy("f", 4, "communication"))
    times, finding = type_times.of(tables), dominates(tables)
    assert times.caveats(finding.rows, ("step", "communication")) == "This rests on noisy records (fc at 4 nodes)"
    assert times.caveats(finding.rows, ("step",)) == ""


def test_other_marks_are_told() -> None:
    def change(record: Record) -> Record:
        marked = record.nodes == 2
        samples = record.samples[:3] if marked else record.samples
        return msgspec.structs.replace(
            record, throttled=marked, oversubscribed=marked, samples=samples, ci_method="range" if marked else "none"
        )

    tables = observed.tables_of({"conv": {1: 8.0, 2: 4.5}}, change=change)
    told = type_times.of(tables).caveats(running_time(tables).rows, ("step",))
    assert told == (
        "This rests on throttled records (conv at 2 nodes), ranks that shared cores (conv at 2 nodes) "
        "and ranges of too few samples for an interval (conv at 2 nodes)"
    )
