"""What the clinical dossier lists, by id, so that the library cannot lose an entry unseen."""

EXERCISES = {
    "stretch": (
        17,
        """
        st-hamstring-standing-bend st-hamstring-towel st-hamstring-wall
        st-hamstring-standing-heel st-hamstring-seated st-hamstring-ake-active
        st-hipflexor-kneeling st-hipflexor-standing st-piriformis-seated-cross
        st-piriformis-supine-fig4 st-glute-supine st-piriformis-fair st-knee-to-chest
        st-childs-pose st-calf-wall st-quad-sidelying st-dynamic-leg-swing
        """,
    ),
    "nerve_glide_slider": (
        11,
        """
        ng-sciatic-contra-slider ng-sciatic-supine-slider ng-sciatic-seated-slider
        ng-sciatic-slump-slider ng-sciatic-slr-ankle-pump ng-sciatic-sidelying-slider
        ng-tibial-slider ng-peroneal-slider ng-sural-slider ng-femoral-sidelying-slider
        ng-femoral-prone-slider
        """,
    ),
    "nerve_glide_tensioner": (
        5,
        """
        ng-sciatic-slump-tensioner ng-sciatic-slr-tensioner ng-tibial-tensioner
        ng-peroneal-tensioner ng-femoral-tensioner
        """,
    ),
    "strengthening": (
        36,
        """
        sg-quad-set sg-iso-heel-dig sg-iso-prone-hold sg-iso-bridge-long sg-iso-hipext-strap
        sg-curl-prone sg-curl-standing sg-curl-hsr sg-bridge-double sg-bridge-single
        sg-bridge-long-lever sg-bridge-walkout sg-slider-double sg-slider-single
        sg-swissball-curl sg-extender sg-diver sg-glider sg-rdl-double sg-rdl-single
        sg-nordic-assisted sg-nordic sg-hip-thrust sg-hip-ext-prone sg-hip-ext-45 sg-clam
        sg-hip-abd-sidelying sg-sidestep-band sg-squat-double sg-squat-single sg-step-up
        sg-step-down sg-lunge-walk-t sg-split-squat sg-calf-raise sg-sit-to-stand
        """,
    ),
    "core": (
        11,
        """
        co-pelvic-tilt co-plank-front co-plank-side co-plank-rotating co-bird-dog co-dead-bug
        co-ab-crunch co-abdominal-brace ba-single-leg ba-windmill ba-forward-lean
        """,
    ),
    "mobility": (
        11,
        """
        mo-ankle-pump mo-heel-slide mo-knee-arom mo-ext-prone-lying mo-ext-elbows mo-ext-pressup
        mo-ext-standing mo-flex-lying mo-side-glide-wall mo-cat-camel mo-knee-rolls
        """,
    ),
    "foam_rolling": (
        4,
        """
        fr-hamstring fr-glute fr-low-back fr-calf
        """,
    ),
    "cardio_running": (
        18,
        """
        ca-bike ca-walk ca-elliptical ca-swim-pool ca-yoga-pilates ca-fast-feet ca-side-step
        ca-grapevine ca-side-shuffle ca-grapevine-jog ca-boxer-shuffle ca-walk-jog ca-walk-run
        ca-run-speed-stage ca-triple-ext-walk ca-a-drill ca-sprint-exposure ca-change-direction
        """,
    ),
    "education_self_care": (
        18,
        """
        ed-ice ed-heat ed-rice ed-activity-mod ed-stay-active ed-sitting-breaks
        ed-sit-bone-relief ed-footwear ed-weight ed-posture ed-lifting ed-warm-up
        ed-load-progress ed-pacing ed-medicines-info ed-foot-check ed-ces-card ed-referral-info
        """,
    ),
}

RED_FLAGS = {
    "emergency": """
        ces_saddle_numbness ces_bladder ces_bowel ces_sexual bilateral_leg_symptoms
        sudden_leg_weakness_or_numbness cord_signs acute_limb_ischaemia compartment_syndrome
        pe_suspected surgical_wound_sepsis
    """,
    "urgent": """
        new_motor_weakness severe_nerve_pain_with_deficit major_trauma minor_trauma_fragile_bone
        fever_with_pain calf_swelling_dvt_suspected suspected_avulsion adolescent_sit_bone_pop
        severe cancer_history_progressive foot_wound_diabetes wound_problem hypoglycaemia_severe
    """,
    "routine": """
        weight_loss_unexplained constant_progressive night_pain review-4wk review-6wk recurrent
        age-review interferes_daily steroid_or_bone_risk regress-in-phase-1 red-after-regress
        gap-7 late-data high-pain-before session-during-stop reclassify-nerve consider-glides
        consider-pht consider-lumbar consider-root screen-unanswered distress
    """,
}

CONDITIONS = """
    diabetes diabetes_with_insulin arthritis peripheral_vascular_disease spinal_disorder
    osteoporosis_or_steroids bleeding_risk tendon_risk pregnancy heart_or_lung_disease overweight
    hypermobility hamstring_repair clot_risk
"""

METRICS = """
    pain_pre pain_during pain_next nprs_worst settle_min leg_sx_code sit_min load_test_pain
    confidence self_predicted_days psfs psfs_change lefs fash haos visa_h phat odi rmdq groc
    s_lanss ears sirs ake_deg ake_deficit_pct slr_deg slr_pct slr_diff_deg iso90_pct iso90_pain
    hhd_outer_pct mmt_prone90 knee_ext_lag_deg sl_squat_pain sl_balance_s slhb_reps slhb_pct
    palpation_pain htest_insecurity neuro_exam_normal neuro_exam_normal_or_stable slump_pain
    slump_diff_deg femoral_slump step_down_ok gait_normal walk_pain walk_brisk_min
    bike_150w_pain calf_diff_cm jog_slow_pain jog50_pain run_pct_painfree sprint_pain cod_pain
    full_trainings ready_self clinician_signoff surgeon_clearance rts_14d adherence_7d
    adherence_28d session_day_rate rating_rate ceiling_excess delta trend_next improved
    pct_of_other days_in_phase night_symptoms constant_symptoms slump_positive
    hill_pattern
"""

# The content of each published version, by the beginning of its digest.
PUBLISHED = {
    "back-hamstring-selfcare": "da0de206836184b7",
    "deep-gluteal": "a6149bdfca227afc",
    "hs-grade-1": "1554a30495c7cd7b",
    "hs-grade-2": "a70885c0c51ead3c",
    "hs-grade-3": "4790a7f0366e431a",
    "lumbar-referred": "bffa3cb35837fa02",
    "neural-thigh": "370c842469e93370",
    "pht": "48eddfb98268dd19",
    "post-repair": "469c0f3763ecdc35",
    "prevent-nordic": "b112669adad53556",
}

# The content of the other files: a number or a text changes on purpose, and here as well.
CONTENT = {
    "exercises/dosing_notes.yaml": "e1c965215388fa15",
    "exercises/ladders.yaml": "4599e61152d4fbdb",
    "exercises/library/cardio_running.yaml": "b14174165e6785de",
    "exercises/library/core.yaml": "60438620300d2cfc",
    "exercises/library/education_self_care.yaml": "63cc6133fd6bbb29",
    "exercises/library/foam_rolling.yaml": "23b717432f77b040",
    "exercises/library/mobility.yaml": "e419fe1fd132f83f",
    "exercises/library/nerve_glide_slider.yaml": "45c98e8014952559",
    "exercises/library/nerve_glide_tensioner.yaml": "ffab458697bc98b3",
    "exercises/library/strengthening.yaml": "e234465dd37e4dfe",
    "exercises/library/stretch.yaml": "1a5c4bf6aa006b7a",
    "exercises/sources.yaml": "efe88dcf75e49215",
    "protocols/metrics.yaml": "a736cfc5c91c9c50",
    "protocols/rules.yaml": "3c2803be3ae09425",
    "protocols/safety.yaml": "cbb8ac7bca1567f8",
}
