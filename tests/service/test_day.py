"""A patient's day: read the plan, do it, log it, again and again, and be read by the therapist."""

from __future__ import annotations

from typing import Any

from tests.service.cast import OwnPhone


def test_from_the_plan_to_the_log(ben: OwnPhone, plan_of_ben: Any) -> None:
    plan = ben.plan()
    assert len(plan["days"]) == 14
    today = plan["days"][0]
    assert today["day_type"] == "training"
    assert today["assignments"][0]["phase"]["day_in_phase"] == 1
    slot = today["slots"][-1]
    assert {item["dose"]["side"] for item in slot["items"]} <= {
        "right",
        "both",
        "none",
        "alternate",
    }

    result = ben.logs(slot, plan_of_ben)
    assert result["status"] == "created"
    assert result["derived"]["outcome"] == "completed"
    assert result["derived"]["dose_ratio"] == 1
    assert result["derived"]["duration_s"] == 24 * 60

    [after] = [s for s in ben.plan()["days"][0]["slots"] if s["slot_id"] == slot["slot_id"]]
    assert (after["status"], after["session_ids"]) == ("completed", [result["id"]])
