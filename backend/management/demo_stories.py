"""Who is in the demo clinics, and how their weeks went. One story an account; all of it invented.

A course is one word a date, as in the worked cases: pain before, highest during, and next morning
(`x`: not told). `h` behind it: stopped half-way; `s`: skipped; `---`: nothing was written down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

VERSION = 3  # goes up with every change that makes another demo out of the same seed
PASSWORD = "move-a-little-daily"  # noqa: S105 - public knowledge, as the whole demo is


@dataclass(frozen=True, kw_only=True)
class Place:
    name: str
    title: str
    timezone: str
    second_factor: bool


@dataclass(frozen=True, kw_only=True)
class Colleague:
    """A member of staff. The first physiotherapist of a clinic treats its patients."""

    name: str
    about: str
    place: str
    given_name: str
    family_name: str
    physiotherapist: bool = False
    clinic_admin: bool = False

    @property
    def email(self) -> str:
        return f"{self.name}@{self.place}.demo"


@dataclass(frozen=True, kw_only=True)
class Story:
    """A patient, what was found, what was prescribed, and what happened. Day 1 is the first date.

    The last date of the course lies `until` days before today.
    """

    name: str
    about: str
    given_name: str
    family_name: str
    age: int
    sex: str
    place: str = "harbour"
    timezone: str = "Europe/Stockholm"

    problem: str
    diagnosis: str
    region: str
    side: str
    new_pain: bool = True
    protocol: str
    phase: str = "phase-1"
    switched_on: tuple[str, ...] = ()
    training_days: tuple[int, ...] = ()

    course: str
    until: int = 1
    measured: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    approved_on: tuple[int, ...] = ()  # the physiotherapist approves what is proposed
    notes: Mapping[int, str] = field(default_factory=dict)
    signs: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    corrected_on: int = 0  # a log of this day got a second revision
    withdrawn_on: int = 0  # a log of this day was written twice, and one taken back
    settles_in_min: int | None = None  # nerve protocols

    clock_ahead: timedelta = timedelta()
    typed_every: int = 1  # types in all that is open every so many evenings
    has_tablet: bool = False  # a second device that logs the same sessions now and then
    travels: bool = False  # to where the clocks changed last
    paused_on: int = 0
    discharged_on: int = 0
    signs_in: bool = True

    @property
    def email(self) -> str:
        return f"{self.name}@{self.place}.demo"


PLACES = (
    Place(
        name="harbour",
        title="Harbour Physiotherapy",
        timezone="Europe/Stockholm",
        second_factor=False,
    ),
    Place(
        name="riverside",
        title="Riverside Clinic",
        timezone="Europe/London",
        second_factor=True,
    ),
)

STAFF = (
    Colleague(
        name="physiotherapist",
        about="physiotherapist",
        place="harbour",
        given_name="Ana",
        family_name="Lindholm",
        physiotherapist=True,
    ),
    Colleague(
        name="admin",
        about="clinic admin",
        place="harbour",
        given_name="Cleo",
        family_name="Berg",
        clinic_admin=True,
    ),
    Colleague(
        name="both",
        about="physiotherapist and clinic admin",
        place="harbour",
        given_name="Dana",
        family_name="Holm",
        physiotherapist=True,
        clinic_admin=True,
    ),
    Colleague(
        name="staff-elsewhere",
        about="both, at the other clinic",
        place="riverside",
        given_name="Olga",
        family_name="Whitby",
        physiotherapist=True,
        clinic_admin=True,
    ),
)

STORIES = (
    Story(
        name="steady",
        about="steady progress",
        given_name="Stina",
        family_name="Steady",
        age=29,
        sex="female",
        problem="Left hamstring, sprinting",
        diagnosis="Grade II hamstring strain, left (BAMIC 2b)",
        region="posterior_thigh",
        side="left",
        protocol="hs-grade-2",
        phase="phase-2",
        course="""
            222 222 221 121 121 121 111 121 121 110 010 020 020 010
            010 020 010 010 010 000 010
        """,
        measured={
            1: {"nprs_worst": 6},
            7: {"nprs_worst": 3},
            12: {"jog50_pain": 0, "iso90_pct": 78, "iso90_pain": 0, "ake_deficit_pct": 14},
            19: {"run_pct_painfree": 60, "slr_pct": 82},
        },
        approved_on=(13,),
        notes={1: "First time on my own. Went well.", 19: "Jogged to the bus without noticing."},
        corrected_on=5,
    ),
    Story(
        name="pain-rising",
        about="pain rising",
        given_name="Ravi",
        family_name="Rising",
        age=38,
        sex="male",
        problem="Right sit bone, running",
        diagnosis="Proximal hamstring tendinopathy, right",
        region="sit_bone",
        side="right",
        new_pain=False,
        protocol="pht",
        phase="phase-2",
        course="222 222 232 233 333 333 343 334 444 444 454 454 455 555 555h 565 566 666h",
        measured={8: {"load_test_pain": 4, "sit_min": 12}},
        notes={13: "Sitting at work is worse again.", 18: "Stopped early, it pulled a lot."},
    ),
    Story(
        name="pain-above-limit",
        about="pain above limit once",
        given_name="Pia",
        family_name="Spike",
        age=24,
        sex="female",
        problem="Right hamstring, football",
        diagnosis="Grade I hamstring strain, right (BAMIC 1a)",
        region="posterior_thigh",
        side="right",
        protocol="hs-grade-1",
        phase="phase-2",
        course="121 121 121 111 121 121 111 172h 221 121 111 110 010 010",
        notes={8: "Slipped on wet grass while jogging. Better after ten minutes of rest."},
    ),
    Story(
        name="silent-phone",
        about="silent phone",
        given_name="Sixten",
        family_name="Silent",
        age=45,
        sex="male",
        problem="Left leg and lower back",
        diagnosis="Lumbar-referred posterior thigh pain, left",
        region="lower_back",
        side="left",
        new_pain=False,
        protocol="lumbar-referred",
        course="333 323 332 222 222 223 322 222 222 221 122 222",
        until=11,
        settles_in_min=8,
    ),
    Story(
        name="typed-late",
        about="logs typed late",
        given_name="Lovisa",
        family_name="Late",
        age=41,
        sex="female",
        problem="Stiff back and hamstrings from desk work",
        diagnosis="Lower-back and hamstring tightness",
        region="lower_back",
        side="both",
        new_pain=False,
        protocol="back-hamstring-selfcare",
        course="""
            22x 22x 222 22x 32x 222 22x 21x 221 ---
            11x 121 11x 22x 111 11x 11x 111 11x 11x
        """,
        withdrawn_on=6,
        typed_every=3,
    ),
    Story(
        name="wrong-clock",
        about="wrong device clock",
        given_name="Calle",
        family_name="Clock",
        age=56,
        sex="male",
        problem="Right buttock, sitting",
        diagnosis="Deep gluteal syndrome, right",
        region="hip",
        side="right",
        protocol="deep-gluteal",
        course="333 323 333 322 222 222 222 232 222 221 121 122 222 221 121",
        clock_ahead=timedelta(hours=3, minutes=7),
        settles_in_min=6,
    ),
    Story(
        name="two-phones",
        about="two phones",
        given_name="Tova",
        family_name="Phones",
        age=41,
        sex="female",
        problem="Right thigh, downhill running",
        diagnosis="Altered neural dynamics of the thigh, right",
        region="posterior_thigh",
        side="right",
        new_pain=False,
        protocol="neural-thigh",
        phase="phase-2",
        course="222 222 222 221 111 121 121 122 221 121 121 111 121 121 111 121",
        measured={7: {"neuro_exam_normal": 1, "slump_pain": 2, "slump_diff_deg": 14}},
        settles_in_min=5,
        has_tablet=True,
    ),
    Story(
        name="progression-waiting",
        about="progression waiting",
        given_name="Vera",
        family_name="Waiting",
        age=22,
        sex="female",
        problem="Left hamstring, hurdles",
        diagnosis="Grade I hamstring strain, left (BAMIC 1a)",
        region="posterior_thigh",
        side="left",
        protocol="hs-grade-1",
        course="222 221 111 110 010 010 010",
        measured={
            5: {"walk_pain": 0, "jog_slow_pain": 0, "sl_squat_pain": 0},
            6: {"iso90_pct": 65, "iso90_pain": 0, "knee_ext_lag_deg": 0},
        },
        notes={7: "Nothing hurts any more. When may I run?"},
    ),
    Story(
        name="hold-advised",
        about="hold advised",
        given_name="Henrik",
        family_name="Hold",
        age=33,
        sex="male",
        problem="Left hamstring, handball",
        diagnosis="Grade II hamstring strain, left (BAMIC 2a)",
        region="posterior_thigh",
        side="left",
        protocol="hs-grade-2",
        course="323 322 222h 221 121 12xs 122 222 221 122",
        measured={
            9: {
                "walk_pain": 0,
                "jog_slow_pain": 1,
                "sl_squat_pain": 0,
                "iso90_pct": 45,
                "iso90_pain": 1,
                "knee_ext_lag_deg": 0,
            }
        },
    ),
    Story(
        name="paused",
        about="paused for illness",
        given_name="Per",
        family_name="Paused",
        age=27,
        sex="male",
        problem="Hamstrings, after a second strain",
        diagnosis="Healed hamstring strain; prevention",
        region="posterior_thigh",
        side="both",
        new_pain=False,
        protocol="prevent-nordic",
        training_days=(0, 2, 4),
        course="010 010 000 011 110 010 010 010 000 010 010 000 01xs",
        until=5,
        notes={13: "Fever since last night."},
        paused_on=14,
    ),
    Story(
        name="travelling",
        about="travelling across a clock change",
        given_name="Tilda",
        family_name="Travel",
        age=31,
        sex="female",
        problem="Hamstrings, marathon season",
        diagnosis="Healthy athlete; prevention",
        region="posterior_thigh",
        side="both",
        new_pain=False,
        protocol="prevent-nordic",
        phase="phase-2",
        training_days=(0, 2, 4),
        course="010 010 000 010 121 111 110",  # again and again, for as long as it takes
        travels=True,
    ),
    Story(
        name="discharged",
        about="discharged",
        given_name="Disa",
        family_name="Discharged",
        age=26,
        sex="female",
        problem="Right hamstring, sprinting",
        diagnosis="Grade I hamstring strain, right (BAMIC 1b)",
        region="posterior_thigh",
        side="right",
        protocol="hs-grade-1",
        phase="phase-3",
        course="""
            010 010 000 010 010 010 000 010 010 000 000 010 000 000
            010 000 000 000 000 000
        """,
        until=6,
        measured={
            12: {"full_trainings": 2, "sprint_pain": 0, "cod_pain": 0, "palpation_pain": 0},
            20: {"htest_insecurity": 0, "hhd_outer_pct": 97, "ready_self": 1, "groc": 7},
        },
        discharged_on=21,
    ),
    Story(
        name="never-signed-in",
        about="never signed in",
        given_name="Nils",
        family_name="Newcomer",
        age=36,
        sex="male",
        problem="Left hamstring, skiing",
        diagnosis="Grade I hamstring strain, left (BAMIC 1a)",
        region="posterior_thigh",
        side="left",
        protocol="hs-grade-1",
        course="---",
        signs_in=False,
    ),
    Story(
        name="red-flag",
        about="red-flag symptom",
        given_name="Rut",
        family_name="Redflag",
        age=45,
        sex="female",
        problem="Left leg pain to the calf",
        diagnosis="Lumbar radicular pain, left, extension preference",
        region="lower_back",
        side="left",
        new_pain=False,
        protocol="lumbar-referred",
        switched_on=("phase-1/mo-ext-pressup",),
        course="323 323 322 222 223 322 222 233 322 22x",
        signs={10: ("ces_saddle_numbness", "bilateral_leg_symptoms")},
        settles_in_min=10,
    ),
    Story(
        name="patient-elsewhere",
        about="a patient of the other clinic",
        given_name="Ethan",
        family_name="Elsewhere",
        age=17,
        sex="male",
        place="riverside",
        timezone="Europe/London",
        problem="Right sit bone, rugby",
        diagnosis="Grade I hamstring strain, right; no avulsion on the X-ray",
        region="sit_bone",
        side="right",
        protocol="hs-grade-1",
        course="222 221 111 121 111 110 010 010 010",
    ),
)
