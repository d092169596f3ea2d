"""Table R, its effects, and what holds for everybody (protocols.md sections 5 to 7)."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.engine.case import Course, Outcome
from protocols.engine.day import Approval, Clearance, Day, Measured, Reported
from protocols.engine.gates import GATES
from protocols.engine.progression import RULES, Late, in_force, replay
from tests.builders import ALL_CLEAR, FIRST, PLANNED, course, day, judged, missed, rules_of
from tests.engine.histories import all_clear

URGENT = (Reported("calf_swelling_dvt_suspected", "urgent"),)
EMERGENCY = (Reported("ces_bladder", "emergency"),)
PHASE_2 = Approval("phase-2")


def planned(days: list[Day], **said: Any) -> list[int]:
    return [one.planned for one in judged(days, **said)]


def alerts(days: list[Day], **said: Any) -> list[str]:
    return [f"{a.level}:{a.code}" for one in judged(days, **said) for a in one.alerts]


def phases(days: list[Day], **said: Any) -> list[str]:
    return [one.phase_id for one in judged(days, **said)]


# --- R1 to R4: stops --------------------------------------------------------------------------


def test_r1_r2_a_stop_stands_until_a_clinician_clears_it() -> None:
    days = [day(1), day(2, reported=URGENT), missed(3), missed(4), day(5)]
    assert rules_of(days) == ["R15", "R1", "R2", "R2", "R2"]
    assert planned(days) == [10, 10, 0, 0, 0]


def test_r2_sets_during_a_stop_are_kept_and_not_counted() -> None:
    result = judged([day(1, reported=URGENT), day(2)])
    assert (result[1].credit, result[1].colour.value) == (0, "-")
    assert [a.code for a in result[1].alerts] == ["session-during-stop"]


def test_r2_stopped_dates_use_up_no_half_dose_and_no_day_of_the_phase() -> None:
    result = judged([day(1, during=6), missed(2, reported=URGENT), day(3), missed(4)])
    assert [one.after.half_left for one in result] == [1, 1, 1, 1]
    assert [one.after.days_left_out for one in result] == [0, 0, 1, 2]


def test_r2_sets_during_a_stop_are_looked_at_before_anything_gets_harder() -> None:
    result = judged([day(1, reported=URGENT), day(2), missed(3, clearance=Clearance()), day(4)])
    assert result[-1].after.reviews == {"session-during-stop"}
    assert "GG6" in result[-1].failed


def test_r3_the_date_of_the_clearance_still_counts_as_stopped() -> None:
    result = judged([day(1, reported=URGENT), day(2, clearance=Clearance()), day(3)])
    assert (result[1].rule, result[1].credit, result[1].counts) == ("R3", 0, False)
    assert [a.code for a in result[1].alerts] == ["session-during-stop"]


def test_r3_a_clearance_without_a_stop_changes_nothing() -> None:
    days = [day(1), day(2, clearance=Clearance("phase-2")), day(3)]
    assert judged(days)[-1].after == judged([day(1), day(2), day(3)])[-1].after
    assert rules_of(days) == ["R15", "R15", "R15"]


# A clearance that was given after all reports of its date: (given after them, rules, planned).
CLEARED = [
    pytest.param(False, ["R1", "R2", "R2"], [10, 0, 0], id="before the report"),
    pytest.param(True, ["R1", "R15", "R15"], [10, 5, 5], id="after the report"),
]


@pytest.mark.parametrize(("after_reports", "rules", "sets"), CLEARED)
@pytest.mark.parametrize("said", [{"reported": URGENT}, {"done": 0, "pain_otherwise": 8}])
def test_r3_a_stop_may_be_cleared_on_the_date_it_was_reported(
    after_reports: bool, rules: list[str], sets: list[int], said: dict[str, Any]
) -> None:
    clearance = Clearance(after_reports=True) if after_reports else Clearance()
    days = [day(1), day(2, clearance=clearance, **said), day(3), day(4)]
    first = "R1" if "reported" in said else "R4"
    assert rules_of(days) == ["R15", first, *rules[1:]]
    assert planned(days)[1:] == sets
    assert (judged(days)[1].after.stop == ()) is after_reports
    if after_reports:
        assert judged(days)[1].after.started_on == FIRST + timedelta(days=2)


def test_r1_a_flag_during_a_stop_may_be_cleared_on_its_date_too() -> None:
    days = [
        day(1, reported=URGENT),
        day(2, reported=EMERGENCY, clearance=Clearance("phase-2", after_reports=True)),
        day(3),
    ]
    result = judged(days)
    assert (result[1].rule, result[1].stopped, result[1].credit) == ("R1", True, 0)
    assert [a.code for a in result[1].alerts] == ["ces_bladder", "session-during-stop"]
    assert (result[2].phase_id, result[2].planned) == ("phase-2", 5)


def test_a_routine_flag_goes_on_and_is_looked_at() -> None:
    told = (Reported("night_pain", "routine"),)
    result = judged([day(1, reported=told), day(2), day(3, closed=("night_pain",))])
    assert [one.rule for one in result] == ["R15"] * 3
    assert [f"{a.level}:{a.code}" for a in result[0].alerts] == ["routine:night_pain"]
    assert ["GG6" in one.failed for one in result] == [True, True, False]


def test_r1_a_new_flag_during_a_stop_raises_its_own_alert() -> None:
    days = [day(1, reported=URGENT), missed(2, reported=EMERGENCY), missed(3)]
    assert rules_of(days) == ["R1", "R1", "R2"]
    assert alerts(days) == ["urgent:calf_swelling_dvt_suspected", "emergency:ces_bladder"]
    assert judged(days)[-1].after.stop == URGENT + EMERGENCY


def test_r1_a_flag_that_is_reported_again_stands_once() -> None:
    assert judged([day(1, reported=URGENT), missed(2, reported=URGENT)])[-1].after.stop == URGENT


def test_r3_clearance_resumes_on_the_next_date_at_half_dose_with_a_new_clock() -> None:
    days = [
        day(1), day(2, reported=URGENT), missed(3, clearance=Clearance()), day(4), day(5), day(6),
    ]  # fmt: skip
    assert rules_of(days) == ["R15", "R1", "R3", "R15", "R15", "R15"]
    assert planned(days) == [10, 10, 0, 5, 5, 10]
    assert judged(days)[3].after.started_on == FIRST + timedelta(days=3)


def test_r3_the_clinician_may_name_another_phase() -> None:
    days = [
        day(1, approval=PHASE_2), day(2, reported=URGENT),
        missed(3, clearance=Clearance("phase-1")), day(4),
    ]  # fmt: skip
    assert phases(days) == ["phase-2", "phase-2", "phase-2", "phase-1"]


@pytest.mark.parametrize("said", [{"during": 8}, {"pop_felt": True}, {"next_morning": 9}])
def test_r4_severe_stops(said: dict[str, int]) -> None:
    days = [day(1, **said), missed(2)]
    assert rules_of(days) == ["R4", "R2"]
    assert alerts(days) == ["urgent:severe"]
    assert judged(days)[-1].after.stop == (Reported("severe", "urgent"),)


def test_r4_a_check_in_without_a_session_counts() -> None:
    assert rules_of([missed(1, pain_otherwise=8)]) == ["R4"]
    assert rules_of([missed(1, pain_otherwise=7)]) == ["R13"]


@pytest.mark.parametrize("said", [{"before": 8}, {"pop_felt": True}, {"during": 9}])
def test_r4_without_a_set_logged(said: dict[str, int]) -> None:
    assert rules_of([missed(1, **said), missed(2)]) == ["R4", "R2"]


# --- R5 to R7: red days -----------------------------------------------------------------------


def test_r6_the_next_session_day_is_at_half_dose_rounded_up() -> None:
    days = [day(1, during=6), day(2), day(3)]
    assert rules_of(days)[0] == "R6"
    assert planned(days, planned=9) == [9, 5, 9]


def test_half_doses_are_used_up_by_session_days_not_by_dates() -> None:
    days = [day(1, during=6), missed(2), missed(3), day(4), day(5)]
    assert planned(days) == [10, 5, 5, 5, 10]


def test_r6_a_red_session_at_half_dose_leads_to_another() -> None:
    days = [day(1, reported=URGENT), missed(2, clearance=Clearance()), day(3), day(4, during=6),
            day(5), day(6)]  # fmt: skip
    assert rules_of(days)[3] == "R6"
    assert planned(days) == [10, 0, 5, 5, 5, 10]


def test_r5_the_second_red_in_seven_dates_steps_back_at_full_dose() -> None:
    days = [
        day(1, approval=PHASE_2, during=6),
        *(day(n) for n in range(2, 7)),
        day(7, during=6),
        day(8),
    ]
    assert rules_of(days)[6] == "R5"
    assert phases(days)[-2:] == ["phase-2", "phase-1"]
    assert planned(days)[-1] == 10


def test_r5_eight_dates_apart_is_not_a_repeat() -> None:
    days = [day(1, during=6), *(day(n) for n in range(2, 8)), day(8, during=6)]
    assert rules_of(days)[7] == "R6"


def test_r5_in_phase_1_stays_there_at_half_dose_and_tells_the_clinician() -> None:
    days = [day(1, during=6), day(2, during=6), day(3), day(4), day(5)]
    assert rules_of(days)[1] == "R5"
    assert planned(days) == [10, 5, 5, 5, 10]
    assert alerts(days) == ["routine:regress-in-phase-1"]
    assert judged(days)[2].after.started_on == FIRST + timedelta(days=2)


def test_r5_counts_only_reds_after_the_last_step_back() -> None:
    days = [day(1, approval=PHASE_2, during=6), day(2, during=6), day(3, during=6), day(4)]
    assert rules_of(days) == ["R6", "R5", "R6", "R15"]


def test_r5_two_more_reds_after_a_step_back_step_back_again() -> None:
    days = [day(1, approval=Approval("phase-3")), *(day(n, during=6) for n in range(2, 6)), day(6)]
    assert rules_of(days) == ["R15", "R6", "R5", "R6", "R5", "R15"]
    assert phases(days)[-1] == "phase-1"
    told = [[a.code for a in one.alerts] for one in judged(days)]
    assert told == [[], [], [], ["red-after-regress"], ["red-after-regress"], []]  # R7


def test_r5_the_lower_phase_begins_at_full_dose_whatever_half_doses_were_left() -> None:
    days = [
        day(1, approval=PHASE_2, during=6), day(2, reported=URGENT),
        missed(3, clearance=Clearance()), day(4, during=6), day(5),
    ]  # fmt: skip
    assert rules_of(days) == ["R6", "R1", "R3", "R5", "R15"]
    assert planned(days) == [10, 5, 0, 5, 10]


@pytest.mark.parametrize(("number", "soon"), [(9, True), (10, False)])
def test_r7_a_red_within_seven_dates_of_a_step_back_is_told(number: int, soon: bool) -> None:
    days = [day(1, approval=PHASE_2, during=6), day(2, during=6),
            *(day(n) for n in range(3, number)), day(number, during=6)]  # fmt: skip
    assert ("routine:red-after-regress" in alerts(days)) is soon
    assert ("red-after-regress" in judged(days)[-1].after.reviews) is soon


# --- R8 to R10: missed dates ------------------------------------------------------------------


def gap(length: int) -> list[Day]:
    return [day(1), *(missed(n) for n in range(2, 2 + length))]


def test_r8_r9_r10_missed_in_a_row() -> None:
    days = gap(14)
    found = dict(zip(range(14), rules_of(days)[1:], strict=True))
    assert {n + 1: rule for n, rule in found.items() if rule != "R13"} == {
        3: "R8",
        7: "R9",
        14: "R10",
    }
    assert alerts(days) == ["patient:nudge-3", "routine:gap-7", "routine:regress-in-phase-1"]


@pytest.mark.parametrize("length", [2, 6, 13])
def test_a_session_on_the_date_that_would_complete_the_row_ends_it(length: int) -> None:
    back = gap(length)
    assert rules_of([*back, day(length + 2)])[-1] not in ("R8", "R9", "R10")


def test_the_first_dates_of_a_course_may_be_missed() -> None:
    assert rules_of([missed(1), missed(2), missed(3)]) == ["R13", "R13", "R8"]


def test_rest_and_excused_dates_neither_count_nor_break_the_row() -> None:
    days = [day(1), missed(2), missed(3, excused=True), missed(4, planned=0), missed(5), missed(6)]
    assert rules_of(days) == ["R15", "R13", "R13", "R13", "R13", "R8"]


def test_r9_back_after_a_gap_at_half_dose_with_a_new_clock() -> None:
    days = [*gap(8), day(10), day(11), day(12)]
    result = judged(days)
    assert [one.planned for one in result[-4:]] == [5, 5, 5, 10]
    assert result[-3].after.started_on == FIRST + timedelta(days=9)
    assert "gap-7" in result[-1].after.reviews


def test_r10_steps_back_once_and_the_return_is_still_at_half_dose() -> None:
    days = [day(1, approval=PHASE_2), *(missed(n) for n in range(2, 22)), day(22), day(23), day(24)]
    result = judged(days)
    assert [one.rule for one in result].count("R10") == 1
    assert alerts(days) == ["patient:nudge-3", "routine:gap-7"]
    assert {one.phase_id for one in result[15:]} == {"phase-1"}
    assert [one.planned for one in result[-3:]] == [5, 5, 10]
    assert result[-1].after.started_on == FIRST + timedelta(days=21)


def test_r9_a_set_logged_during_a_stop_is_no_return() -> None:
    days = [*gap(8), missed(10, reported=URGENT), day(11), missed(12, clearance=Clearance()),
            missed(13, planned=0), day(14), day(15), day(16)]  # fmt: skip
    result = judged(days)
    assert result[-1].after.started_on == FIRST + timedelta(days=13)
    assert [one.planned for one in result[-3:]] == [5, 5, 10]


def test_r9_a_return_that_stops_is_a_return_all_the_same() -> None:
    """The row of missed dates begins anew, and the clock where the clearance sets it."""
    stopped = [*gap(8), day(10, reported=URGENT), missed(11, clearance=Clearance())]
    assert rules_of([*stopped, *(missed(n) for n in range(12, 15))])[-3:] == ["R13", "R13", "R8"]
    later = judged([*stopped, missed(12, planned=0), day(13)])[-1]
    assert later.after.started_on == FIRST + timedelta(days=11)


def test_a_stop_does_not_break_the_row_of_missed_dates() -> None:
    days = [day(1), missed(2), missed(3, reported=URGENT), missed(4, clearance=Clearance()),
            missed(5), missed(6)]  # fmt: skip
    assert rules_of(days) == ["R15", "R13", "R1", "R3", "R13", "R8"]


def test_r13_nothing_is_planned_on_an_excused_date() -> None:
    [one] = judged([day(1, excused=True)])
    assert (one.rule, one.case.planned, one.planned, one.credit) == ("R13", 0, 0, 0)


def test_r13_one_planned_set_is_a_plan() -> None:
    assert rules_of([day(1, done=1), missed(2), missed(3), missed(4)], planned=1) == [
        "R15", "R13", "R13", "R8",
    ]  # fmt: skip


def test_r13_sets_logged_on_a_rest_day_are_no_step_towards_anything() -> None:
    result = judged([day(1), day(2, planned=0), day(3)])
    assert [one.rule for one in result] == ["R15", "R13", "R15"]
    assert (result[1].credit, result[1].colour.value) == (0, "GREEN")


# --- R11 and R12: four and six weeks ----------------------------------------------------------


def with_worst(number: int, value: int) -> list[Day]:
    """28 good days, the worst pain of the week told on D`number`."""
    told = (Measured("nprs_worst", value),)
    return [day(n, measured=told if n == number else ()) for n in range(1, 29)]


@pytest.mark.parametrize(
    ("baseline", "number", "value", "failed"),
    [
        pytest.param(6, 28, 4, False, id="down by two"),
        pytest.param(6, 28, 5, True, id="down by one"),
        pytest.param(3, 28, 2, False, id="down by a third"),
        pytest.param(6, 21, 2, False, id="seven days old"),
        pytest.param(6, 20, 2, True, id="eight days old"),
        pytest.param(8, 28, 6, False, id="down by two, and no third"),
        pytest.param(0, 28, 0, False, id="no pain from the start"),
        pytest.param(None, 28, 0, True, id="no baseline"),
    ],
)
def test_r11_day_28(baseline: int | None, number: int, value: int, failed: bool) -> None:
    days = with_worst(number, value)
    result = judged(days, baseline=baseline)
    assert ("review-4wk" in result[-1].after.reviews) is failed
    assert (result[-1].rule == "R11") is failed


def test_r11_other_values_of_the_date_say_nothing_of_the_worst_pain() -> None:
    days = with_worst(28, 6)
    days[-1] = replace(days[-1], measured=(Measured("walk_pain", 0), *days[-1].measured))
    assert rules_of(days)[-1] == "R11"


def test_r11_nobody_asked_at_the_start() -> None:
    usual = course()
    bare = Course(
        protocol=usual.protocol, numbers=usual.numbers, first=FIRST, planned=usual.planned
    )
    assert replay(bare, with_worst(28, 0))[-1].rule == "R11"


def test_r11_inside_a_stop_waits_for_the_first_date_after_clearance() -> None:
    days = [
        *(day(n) for n in range(1, 27)), day(27, reported=URGENT), missed(28),
        missed(29, clearance=Clearance()), day(30),
    ]  # fmt: skip
    assert rules_of(days)[-3:] == ["R2", "R3", "R11"]


@pytest.mark.parametrize("said", [{"reported": URGENT}, {"during": 8}])
def test_r11_on_the_date_a_stop_begins_waits_too(said: dict[str, Any]) -> None:
    days = [*(day(n) for n in range(1, 28)), day(28, **said), missed(29, clearance=Clearance())]
    assert "review-4wk" not in judged(days)[-1].after.reviews
    assert rules_of([*days, day(30)])[-1] == "R11"


def test_r11_r12_both_inside_one_stop_wait_together() -> None:
    days = [*(day(n) for n in range(1, 28)), *(missed(n) for n in range(28, 43))]
    days[26] = day(27, reported=URGENT)
    result = judged([*days, missed(43, clearance=Clearance()), day(44), day(45)])
    assert result[-2].rule == "R11"
    assert result[-2].after.reviews == {"review-4wk", "review-6wk"}
    assert [a.code for a in result[-2].alerts] == ["review-4wk", "review-6wk"]
    assert result[-1].alerts == ()


def test_r12_day_42() -> None:
    days = with_worst(28, 2) + [day(n) for n in range(29, 43)]
    assert rules_of(days)[-1] == "R12"


# --- S-PRE ------------------------------------------------------------------------------------


def test_s_pre_no_session_is_offered_and_the_date_is_excused() -> None:
    days = [day(1), missed(2, before=6), missed(3, before=7), day(4)]
    result = judged(days)
    assert [(one.rule, one.planned, one.excused) for one in result[1:3]] == [("R13", 0, True)] * 2
    assert alerts(days) == ["routine:high-pain-before"]
    assert result[3].after.missed == 0


def test_s_pre_counts_no_date_inside_a_stop() -> None:
    """Nothing is offered there anyway."""
    days = [missed(1, reported=URGENT), missed(2, before=6), missed(3, before=6)]
    assert "routine:high-pain-before" not in alerts(days)


def test_s_pre_from_the_first_date_on() -> None:
    assert alerts([missed(1, before=6), missed(2, before=6)]) == ["routine:high-pain-before"]


# --- T8: late data ----------------------------------------------------------------------------


def late(arrives: int, late_day: Day) -> tuple[Late, ...]:
    return (Late(FIRST + timedelta(days=arrives - 1), late_day),)


def test_t8_a_late_red_lightens_what_is_to_come_not_what_was_done() -> None:
    days = [day(1), missed(2), day(3), day(4), day(5)]
    result = judged(days, late=late(4, day(2, during=6)))
    assert result[1].rule == "R6"
    assert [one.planned for one in result] == [10, 10, 10, 5, 10]


def test_t8_a_late_stop_sign_stops_on_arrival() -> None:
    days = [day(1), missed(2), day(3), missed(4)]
    result = judged(days, late=late(4, missed(2, reported=URGENT)))
    assert [one.rule for one in result] == ["R15", "R1", "R15", "R2"]


def test_t8_an_approved_step_is_not_undone_but_told() -> None:
    days = [day(1), day(2), day(3, measured=ALL_CLEAR), day(4, approval=PHASE_2), day(5), day(6)]
    assert judged(days)[2].outcome is Outcome.ADVANCE
    result = judged(days, late=late(6, day(2, during=5)))
    assert result[2].outcome is Outcome.HOLD
    assert "late-data" in [alert.code for alert in result[-1].alerts]
    assert "late-data" in result[-1].after.reviews
    assert result[-1].phase_id == "phase-2"


def test_t8_an_approved_discharge_is_not_undone_but_told() -> None:
    clear = all_clear("hs-grade-1")
    days = [day(1, approval=Approval("phase-3")), *(day(n) for n in range(2, 5)),
            day(5, measured=clear), day(6, approval=Approval(ends=True))]  # fmt: skip
    assert judged(days)[4].outcome is Outcome.DISCHARGE
    result = judged([*days, missed(7)], late=late(7, day(4, during=6)))
    assert result[4].outcome is Outcome.HOLD
    assert "late-data" in result[-1].after.reviews
    assert (result[-1].after.ended, result[-1].planned) == (True, 0)


def test_t8_a_late_log_ends_the_row_of_missed_dates() -> None:
    days = [day(1), missed(2), missed(3), missed(4), missed(5)]
    assert rules_of(days)[3] == "R8"
    assert rules_of(days, late=late(4, day(3)))[2:] == ["R15", "R13", "R13"]


def test_t8_a_gap_that_was_none_is_no_return() -> None:
    days = [*gap(7), day(9), day(10)]
    result = judged(days, late=late(9, day(5)))
    assert [one.planned for one in result[-2:]] == [10, 10]
    assert result[-1].after.started_on == FIRST


def test_t8_a_late_log_may_be_the_return_after_a_gap() -> None:
    days = [*gap(8), missed(10), day(11), day(12)]
    result = judged(days, late=late(11, day(10)))
    assert [one.planned for one in result[-3:]] == [5, 5, 10]
    assert result[-1].after.started_on == FIRST + timedelta(days=9)
    assert result[-1].after.window_from == FIRST + timedelta(days=9)


def test_t8_a_late_log_uses_up_its_half_dose() -> None:
    days = [day(1, during=6), missed(2), day(3)]
    assert planned(days) == [10, 5, 5]
    assert planned(days, late=late(3, day(2))) == [10, 5, 10]


def test_t8_a_second_flag_about_a_flagged_date_joins_the_stop() -> None:
    days = [day(1, reported=URGENT), missed(2), missed(3)]
    result = judged(days, late=late(3, day(1, reported=URGENT + EMERGENCY)))
    assert result[-1].after.stop == URGENT + EMERGENCY
    assert [alert.level for alert in result[-1].alerts] == ["emergency"]


def test_t8_what_was_told_once_is_not_told_again() -> None:
    days = [day(1), day(2), day(3), day(4), day(5), day(6)]
    more = (*late(4, day(2, during=6)), *late(6, day(1, done=9)))
    result = judged(days, late=more)
    assert [one.planned for one in result] == [10, 10, 10, 5, 10, 10]


def test_t8_a_late_assessment_counts_from_its_own_date() -> None:
    told = (Measured("walk_pain", 1),)
    days = [day(1), day(2), day(3, measured=(Measured("walk_pain", 0),)), day(4), day(5)]
    for late_day, newest in ((day(2, measured=told), 0), (day(4, measured=told), 1)):
        result = judged(days, late=late(5, late_day))
        assert result[-1].after.latest["walk_pain"][1] == newest


@pytest.mark.parametrize("earlier", [(), (Measured("walk_pain", 2),)])
def test_t8_an_assessment_that_was_taken_back_is_none_any_more(
    earlier: tuple[Measured, ...],
) -> None:
    """What it had taken the place of is the newest again."""
    told = (Measured("walk_pain", 0, "a"),)
    days = [day(1, measured=earlier), day(2), day(3, measured=told), day(4), day(5)]
    result = judged(days, late=late(5, day(3)))
    found = result[-1].after.latest.get("walk_pain")
    assert found == ((FIRST, 2, "") if earlier else None)
    assert all(one.after.latest.get("walk_pain") == found for one in result[2:])


def test_t8_an_assessment_that_was_corrected_to_an_earlier_date() -> None:
    told = (Measured("walk_pain", 0, "a"),)
    days = [day(1), day(2), day(3, measured=told), day(4), day(5)]
    moved = (*late(5, day(2, measured=told)), *late(5, day(3)))
    assert judged(days, late=moved)[-1].after.latest["walk_pain"] == (day(2).on, 0, "a")


def test_t8_a_half_dose_told_late_outlives_other_late_data() -> None:
    """Nobody trained since the RED became known, so the next session day is still at half dose."""
    lived = [
        day(1),
        day(2),
        day(3),
        missed(4, excused=True),
        missed(5, excused=True),
        day(6),
        day(7),
    ]
    red, rating = late(4, day(2, during=6)), late(5, day(1, next_morning=0))
    assert planned(lived, late=red) == [10, 10, 10, 0, 0, 5, 10]
    assert planned(lived, late=red + rating) == [10, 10, 10, 0, 0, 5, 10]
    assert planned(lived, late=red + late(4, day(1, next_morning=0))) == [10, 10, 10, 0, 0, 5, 10]


def test_t8_a_late_date_that_was_not_excused_after_all_counts_as_missed_and_in_the_clock() -> None:
    days = [day(1), missed(2, excused=True), missed(3), missed(4)]
    assert rules_of(days)[-1] == "R13"
    result = judged(days, late=late(4, missed(2)))
    assert [one.rule for one in result] == ["R15", "R13", "R13", "R8"]
    assert (result[1].planned, result[-1].case.day_in_phase) == (10, 4)


def test_t8_what_was_told_on_time_is_not_told_again_with_another_verdict() -> None:
    night = (Reported("night_pain", "routine"),)
    days = [day(1), missed(2, reported=night), day(3), day(4)]
    result = judged(days, late=late(4, day(2, during=6, reported=night)))
    assert [one.rule for one in result] == ["R15", "R6", "R15", "R15"]
    assert [len(one.alerts) for one in result] == [0, 1, 0, 0]


def test_t8_a_proposal_that_still_holds_is_no_matter() -> None:
    days = [day(1), day(2), day(3, measured=ALL_CLEAR), day(4, approval=PHASE_2), day(5)]
    for told in (day(2, done=9), day(3, measured=ALL_CLEAR, done=9)):
        result = judged(days, late=late(5, told))
        assert result[2].outcome is Outcome.ADVANCE
        assert alerts(days, late=late(5, told)) == []


def test_t8_a_proposal_nobody_approved_is_withdrawn_without_a_word() -> None:
    """An approval of before is not one of this proposal."""
    days = [day(1, approval=Approval("phase-1")), day(2), day(3, measured=ALL_CLEAR), day(4)]
    result = judged(days, late=late(4, day(2, during=5)))
    assert result[2].outcome is Outcome.HOLD
    assert result[-1].alerts == ()


def test_t8_a_corrected_assessment_counts() -> None:
    days = [day(1), day(2, measured=(Measured("walk_pain", 0),)), day(3)]
    result = judged(days, late=late(3, day(2, measured=(Measured("walk_pain", 2),))))
    assert result[-1].after.latest["walk_pain"][1] == 2


def test_t8_a_step_back_stays_when_its_reason_goes() -> None:
    """And its clock: only a person takes treatment up again."""
    days = [day(1, approval=PHASE_2, during=6), day(2, during=6), day(3), day(4)]
    result = judged(days, late=late(4, day(2)))
    assert [one.rule for one in result] == ["R6", "R15", "R15", "R15"]
    assert result[-1].phase_id == "phase-1"
    assert result[-1].after.started_on == FIRST + timedelta(days=2)


def test_t8_a_late_step_back_does_not_move_the_clock_of_what_was_lived() -> None:
    """Nor does it undo a proposal that was due by that clock: day 29 of at least 28."""
    clear = all_clear("pht")
    days = [
        day(1, approval=PHASE_2, during=6),
        missed(2),
        *(day(n, measured=clear if n in (25, 28) else ()) for n in range(3, 30)),
        day(30, approval=Approval("phase-3")),
        day(31),
    ]
    result = judged(days, "pht", late=late(31, day(2, during=6)))
    assert (result[1].rule, result[28].outcome) == ("R5", Outcome.ADVANCE)
    assert "late-data" not in result[-1].after.reviews
    assert result[-1].phase_id == "phase-1"


def test_t8_a_late_step_back_leaves_the_half_doses_that_were_left() -> None:
    """Of what was carried out meanwhile nothing is known to be too much, so the lighter holds."""
    days = [
        day(1, approval=PHASE_2, during=6), day(2, reported=URGENT),
        missed(3, clearance=Clearance()), missed(4), missed(5), day(6), day(7),
    ]  # fmt: skip
    result = judged(days, late=late(6, day(4, during=6)))
    assert (result[3].rule, result[5].phase_id) == ("R5", "phase-1")
    assert [one.planned for one in result] == [10, 5, 0, 5, 5, 5, 10]


# What a late verdict takes off the plan, from the date on which it is known.


def test_t8_a_late_second_red_steps_back_today() -> None:
    days = [day(1, approval=PHASE_2, during=6), missed(2), day(3), day(4), day(5), day(6)]
    result = judged(days, late=late(5, day(2, during=6)))
    assert [one.phase_id for one in result] == ["phase-2"] * 4 + ["phase-1"] * 2
    assert [one.planned for one in result] == [10, 5, 5, 10, 10, 10]
    assert result[-1].after.started_on == FIRST + timedelta(days=4)
    assert result[-1].after.last_step_back == FIRST + timedelta(days=3)


def test_t8_a_red_today_comes_after_the_late_step_back() -> None:
    days = [day(1, approval=PHASE_2, during=6), missed(2), missed(3), day(4, during=6)]
    result = judged(days, late=late(4, day(2, during=6)))
    assert (result[-1].rule, result[-1].phase_id) == ("R6", "phase-1")
    assert [alert.code for alert in result[-1].alerts] == ["red-after-regress"]


def test_t8_a_late_second_red_in_phase_1_restarts_it_today_at_half_dose() -> None:
    days = [day(1, during=6), missed(2), day(3), day(4), day(5), day(6), day(7)]
    result = judged(days, late=late(5, day(2, during=6)))
    assert [one.planned for one in result] == [10, 5, 5, 10, 5, 5, 10]
    assert result[-1].after.started_on == FIRST + timedelta(days=4)
    assert [alert.code for alert in result[4].alerts] == ["regress-in-phase-1"]
    assert "regress-in-phase-1" in result[-1].after.reviews


def test_t8_a_late_step_back_lifts_nobody_up_again() -> None:
    """The clinician has put the patient lower still, meanwhile."""
    days = [day(1, approval=Approval("phase-3"), during=6), missed(2), day(3),
            day(4, approval=Approval("phase-1")), day(5)]  # fmt: skip
    result = judged(days, late=late(5, day(2, during=6)))
    assert (result[1].rule, result[1].after.phase_id) == ("R5", "phase-2")
    assert result[-1].phase_id == "phase-1"
    assert result[-1].after.started_on == FIRST + timedelta(days=3)


def test_t8_a_log_that_was_none_makes_the_row_of_missed_dates_longer() -> None:
    """R10 in phase 1, found out after the return: the next two session days are at half dose."""
    days = [day(1), *(missed(n) for n in range(2, 8)), day(8), *(missed(n) for n in range(9, 16)),
            *(day(n) for n in range(16, 20))]  # fmt: skip
    result = judged(days, late=late(17, missed(8)))
    assert result[14].rule == "R10"
    assert [one.planned for one in result[15:]] == [5, 5, 5, 10]


def test_t8_a_late_log_leaves_no_more_half_doses_than_a_punctual_one() -> None:
    days = [day(1, reported=URGENT), missed(2, clearance=Clearance()), missed(3), day(4), missed(5),
            day(6)]  # fmt: skip
    result = judged(days, late=late(6, day(3)))
    assert [one.planned for one in result] == [10, 0, 5, 5, 5, 10]


def test_t8_a_late_set_during_a_stop_that_is_over_does_not_stop_again() -> None:
    days = [day(1, reported=URGENT), missed(2), missed(3, clearance=Clearance()), day(4), day(5)]
    result = judged(days, late=late(5, day(2)))
    assert [one.rule for one in result] == ["R1", "R2", "R3", "R15", "R15"]
    assert [alert.code for alert in result[-1].alerts] == ["session-during-stop"]
    assert result[-1].after.reviews == {"session-during-stop"}


def test_t8_high_pain_before_that_is_told_late_counts_in_the_row() -> None:
    days = [day(1), missed(2), missed(3), missed(4, before=6)]
    assert judged(days)[-1].alerts == ()
    result = judged(days, late=late(4, missed(3, before=7)))
    assert [alert.code for alert in result[-1].alerts] == ["high-pain-before"]


def test_t8_a_late_return_leaves_only_what_was_measured_since() -> None:
    days = [day(1, measured=(Measured("walk_pain", 0),)), *gap(8)[1:], missed(10), day(11)]
    result = judged(days, late=late(11, day(10, measured=(Measured("jog_slow_pain", 0),))))
    assert result[-1].after.latest.keys() == {"jog_slow_pain"}


def test_t8_what_arrives_together_is_taken_in_the_order_it_was_lived() -> None:
    days = [day(1), missed(2), missed(3), missed(4)]
    urgent, emergency = missed(2, reported=URGENT), missed(3, reported=EMERGENCY)
    there = judged(days, late=late(4, urgent) + late(4, emergency))
    back = judged(days, late=late(4, emergency) + late(4, urgent))
    assert there == back
    assert [alert.level for alert in back[-1].alerts] == ["urgent", "emergency"]


def test_t8_only_a_judged_date_can_be_late() -> None:
    for number in (0, 2, 3):
        with pytest.raises(ValueError, match="not judged yet"):
            judged([day(1), day(2)], late=late(2, day(number)))
    with pytest.raises(ValueError, match="not judged yet"):
        judged([day(1)], late=late(1, day(1)))


# --- What holds for everybody -----------------------------------------------------------------

PAIN = st.integers(0, 10)
DAY: st.SearchStrategy[dict[str, object]] = st.builds(
    dict,
    done=st.sampled_from([0, 3, 5, 10]),
    before=st.none() | PAIN,
    during=st.none() | PAIN,
    next_morning=st.none() | PAIN,
    excused=st.booleans(),
)
HISTORY = st.lists(DAY, min_size=1, max_size=30)
HARDER = (Outcome.ADVANCE, Outcome.DISCHARGE)


def history(said: list[dict[str, object]]) -> list[Day]:
    return [day(n, **one) for n, one in enumerate(said, start=1)]


@given(said=HISTORY)
@settings(max_examples=60, deadline=None)
def test_a_replay_of_the_same_facts_is_the_same(said: list[dict[str, object]]) -> None:
    assert judged(history(said)) == judged(history(said))


@given(kept=st.lists(st.booleans(), min_size=2, max_size=12), at=st.integers(0, 11), n=st.data())
@settings(max_examples=150, deadline=None)
def test_a_late_log_ends_where_a_punctual_one_does(
    kept: list[bool], at: int, n: st.DataObject
) -> None:
    """Where nothing was changed on account of what was believed meanwhile."""
    lived = [day(i) if one else missed(i) for i, one in enumerate(kept, start=1)]
    at %= len(kept) - 1
    unheard = [*lived[:at], missed(at + 1), *lived[at + 1 :]]
    arrives = n.draw(st.integers(at + 2, len(kept)))
    result = judged(unheard, late=late(arrives, lived[at]))
    changed = {"R8", "R9", "R10"} & {one.rule for one in judged(unheard)}
    if not changed:
        assert result == judged(lived)


@given(said=HISTORY, at=st.integers(0, 29), more=st.integers(1, 5))
@settings(max_examples=150, deadline=None)
def test_more_pain_never_makes_treatment_harder(
    said: list[dict[str, object]], at: int, more: int
) -> None:
    calm = history(said)
    at %= len(calm)
    one = said[at]
    worse = {
        **one,
        "during": min(10, (one["during"] or 0) + more),  # type: ignore[operator]
    }
    sore = history([*said[:at], worse, *said[at + 1 :]])
    before, after = judged(calm), judged(sore)
    assert not (after[at].outcome in HARDER and before[at].outcome not in HARDER)
    assert after[at].after.half_left >= before[at].after.half_left or after[at].after.stop


@given(said=HISTORY, at=st.integers(0, 29), done=st.integers(1, 9))
@settings(max_examples=150, deadline=None)
def test_fewer_sets_never_make_treatment_harder(
    said: list[dict[str, object]], at: int, done: int
) -> None:
    """Fewer sets leave every plan as it is, and propose nothing that more did not."""
    whole = history([{**one, "measured": ALL_CLEAR} for one in said])
    at %= len(whole)
    fewer = [replace(one, done=min(one.done, done)) if n == at else one
             for n, one in enumerate(whole)]  # fmt: skip
    for more, less in zip(judged(whole), judged(fewer), strict=True):
        assert more.after == less.after
        assert more.outcome in HARDER or less.outcome not in HARDER


@given(said=HISTORY, lost=st.sampled_from(["before", "during", "next_morning", "measured"]))
@settings(max_examples=150, deadline=None)
def test_missing_data_never_advance(said: list[dict[str, object]], lost: str) -> None:
    told = history([{**one, "measured": ALL_CLEAR} for one in said])
    *earlier, last = told
    unsaid = replace(last, **{lost: () if lost == "measured" else None})  # type: ignore[arg-type]
    before, after = judged(told)[-1], judged([*earlier, unsaid])[-1]
    assert before.outcome in HARDER or after.outcome not in HARDER


@given(said=HISTORY)
@settings(max_examples=100, deadline=None)
def test_nothing_gets_harder_without_a_person(said: list[dict[str, object]]) -> None:
    numbers = [int(one.phase_id[-1]) for one in judged(history(said))]
    assert all(later <= earlier for earlier, later in pairwise(numbers))


@given(said=HISTORY)
@settings(max_examples=100, deadline=None)
def test_a_standing_stop_plans_nothing(said: list[dict[str, object]]) -> None:
    for one in judged(history(said)):
        assert not (one.rule == "R2" and (one.planned or one.credit))


def test_rules_and_gates_carry_the_dossiers_ids_in_its_order() -> None:
    assert [rule.__name__ for rule in RULES] == [f"r{n}" for n in range(1, 16) if n != 7]
    assert [gate.__name__ for gate in GATES] == [f"gg{n}" for n in range(11)]


def test_decisions_of_a_simulated_clinician_take_effect_the_next_morning() -> None:
    result = replay(course(), [day(1), day(2)], decide=lambda one: PHASE_2)
    assert [one.phase_id for one in result] == ["phase-1", "phase-2"]
    assert result[1].planned == PLANNED


SEEN = Approval("phase-2", since=FIRST)


@pytest.mark.parametrize(
    ("days", "phase"),
    [
        pytest.param([day(1), day(2)], "phase-2", id="as it was seen"),
        pytest.param([day(1, during=6), day(2, during=6)], "phase-1", id="a step back since"),
        pytest.param([day(1), day(2, reported=URGENT)], "phase-1", id="a stop since"),
        pytest.param(
            [day(1, reported=URGENT), day(2, clearance=Clearance())], "phase-1", id="cleared since"
        ),
    ],
)
def test_what_is_harder_holds_only_while_it_is_as_whoever_approved_saw_it(
    days: list[Day], phase: str
) -> None:
    assert judged([*days, day(3, approval=SEEN)])[-1].phase_id == phase


def test_lighter_always_holds() -> None:
    days = [day(1, approval=PHASE_2), day(2, reported=URGENT)]
    lighter = Approval("phase-1", since=FIRST + timedelta(days=40))
    assert judged([*days, day(3, approval=lighter)])[-1].phase_id == "phase-1"


def test_into_the_phase_one_is_in_by_then_nothing_begins_anew() -> None:
    days = [day(1), day(2, approval=PHASE_2), day(3), day(4, approval=SEEN)]
    assert [one.before.started_on for one in judged(days)[1:]] == [FIRST + timedelta(days=1)] * 3


def test_an_approval_that_has_begun_stands_when_its_date_is_judged_again() -> None:
    again = day(3, approval=SEEN)
    has_begun = replace(course().start(), phase_id="phase-2", started_on=again.on)
    assert in_force(course().protocol, has_begun, again) is again


def test_a_course_may_begin_with_a_stop_and_with_open_items() -> None:
    days = [missed(1), missed(2, clearance=Clearance()), day(3)]
    result = judged(days, stop=URGENT, reviews=frozenset({"age-review"}))
    assert [one.rule for one in result] == ["R2", "R3", "R15"]
    assert result[-1].after.reviews == {"age-review"}


def test_windows_hold_nothing_of_before_somebody_joined() -> None:
    days = [day(n) for n in range(1, 6)]
    gg2 = [
        [one.samples for one in judged(days, joined=joined)[-1].findings if one.gate == "GG2"]
        for joined in (None, FIRST + timedelta(days=3))
    ]
    assert gg2 == [[3], [2]]


def test_a_verdict_is_its_own_date_without_the_chain_behind_it() -> None:
    """To be compared, and to be printed."""
    first, last = judged([day(1), day(2)])
    assert not re.search(r"\b(course|past|inherited)=", repr(last.case))
    other = replace(
        last.case, course=course("pht"), past=None, inherited=replace(first.before, missed=5)
    )
    assert other == last.case


def test_what_the_day_says_of_a_decision_stands_before_the_simulated_one() -> None:
    days = [day(1), day(2, approval=Approval("phase-3"))]
    result = replay(course(), days, decide=lambda one: PHASE_2)
    assert [one.phase_id for one in result] == ["phase-1", "phase-3"]
