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

# protocol: (phase, minimum days, prescriptions, exit metrics), as the dossier lists them
PROTOCOLS = {
    "hs-grade-1": [
        (
            3,
            """
            ca-bike ca-side-step ca-grapevine ca-fast-feet co-plank-front co-plank-side
            sg-bridge-double ba-single-leg sg-iso-heel-dig mo-knee-arom ed-ice
            """,
            """
            walk_pain jog_slow_pain sl_squat_pain iso90_pct iso90_pain knee_ext_lag_deg
            """,
        ),
        (
            5,
            """
            sg-extender sg-diver sg-glider sg-bridge-walkout sg-bridge-single ba-windmill
            sg-lunge-walk-t ca-side-shuffle ca-grapevine-jog ca-boxer-shuffle ca-walk-jog
            st-hamstring-towel
            """,
            """
            run_pct_painfree slr_pct hhd_outer_pct iso90_pain
            """,
        ),
        (
            5,
            """
            sg-nordic-assisted sg-slider-single sg-rdl-single ca-run-speed-stage
            ca-change-direction ca-sprint-exposure co-plank-rotating ed-warm-up
            """,
            """
            sprint_pain cod_pain palpation_pain ake_deficit_pct hhd_outer_pct slhb_pct
            htest_insecurity full_trainings ready_self clinician_signoff
            """,
        ),
    ],
    "hs-grade-2": [
        (
            5,
            """
            ed-rice ed-ice ca-walk mo-knee-arom sg-iso-heel-dig sg-bridge-double co-plank-front
            ba-single-leg ca-bike
            """,
            """
            walk_pain jog_slow_pain sl_squat_pain iso90_pct iso90_pain knee_ext_lag_deg
            """,
        ),
        (
            7,
            """
            sg-curl-prone sg-bridge-single sg-iso-prone-hold sg-extender ba-windmill sg-clam
            ca-side-step ca-grapevine ca-walk-jog st-hamstring-ake-active
            """,
            """
            jog50_pain iso90_pct iso90_pain ake_deficit_pct
            """,
        ),
        (
            7,
            """
            sg-diver sg-glider sg-slider-double sg-rdl-double sg-bridge-long-lever
            sg-lunge-walk-t ca-run-speed-stage ca-side-shuffle st-hamstring-towel
            """,
            """
            run_pct_painfree slr_pct hhd_outer_pct ake_deficit_pct
            """,
        ),
        (
            7,
            """
            sg-nordic-assisted sg-nordic sg-slider-single sg-rdl-single ca-run-speed-stage
            ca-change-direction ca-sprint-exposure
            """,
            """
            sprint_pain cod_pain palpation_pain ake_deficit_pct hhd_outer_pct slhb_pct
            htest_insecurity full_trainings ready_self clinician_signoff
            """,
        ),
    ],
    "hs-grade-3": [
        (
            14,
            """
            ed-rice mo-ankle-pump sg-quad-set co-abdominal-brace mo-heel-slide sg-iso-heel-dig
            """,
            """
            walk_pain gait_normal clinician_signoff
            """,
        ),
        (
            14,
            """
            sg-iso-prone-hold sg-bridge-double sg-curl-standing sg-hip-ext-prone sg-clam
            ba-single-leg ca-bike
            """,
            """
            iso90_pct iso90_pain sl_squat_pain sl_balance_s
            """,
        ),
        (
            21,
            """
            sg-curl-prone sg-bridge-single sg-bridge-walkout sg-extender ca-walk-jog sg-step-up
            """,
            """
            hhd_outer_pct jog50_pain ake_deficit_pct
            """,
        ),
        (
            21,
            """
            sg-diver sg-glider sg-slider-double sg-rdl-double ca-run-speed-stage
            """,
            """
            run_pct_painfree hhd_outer_pct ake_deficit_pct clinician_signoff
            """,
        ),
        (
            14,
            """
            sg-nordic-assisted sg-rdl-single ca-run-speed-stage ca-change-direction
            ca-sprint-exposure
            """,
            """
            sprint_pain cod_pain palpation_pain ake_deficit_pct hhd_outer_pct slhb_pct
            htest_insecurity full_trainings ready_self clinician_signoff
            """,
        ),
    ],
    "pht": [
        (
            14,
            """
            sg-iso-bridge-long sg-iso-hipext-strap sg-iso-prone-hold co-plank-side
            ed-sit-bone-relief ca-walk
            """,
            """
            load_test_pain sit_min
            """,
        ),
        (
            28,
            """
            sg-curl-hsr sg-bridge-single sg-bridge-long-lever sg-hip-ext-prone sg-clam
            sg-iso-bridge-long
            """,
            """
            load_test_pain hhd_outer_pct sit_min
            """,
        ),
        (
            28,
            """
            sg-hip-thrust sg-rdl-double sg-rdl-single sg-split-squat sg-step-up sg-curl-hsr
            """,
            """
            load_test_pain hhd_outer_pct sl_squat_pain
            """,
        ),
        (
            28,
            """
            ca-run-speed-stage ca-change-direction sg-nordic sg-rdl-single
            """,
            """
            load_test_pain sprint_pain hhd_outer_pct ready_self clinician_signoff
            """,
        ),
    ],
    "post-repair": [
        (
            42,
            """
            mo-ankle-pump sg-quad-set co-abdominal-brace mo-heel-slide sg-hip-abd-sidelying
            """,
            """
            surgeon_clearance gait_normal walk_pain
            """,
        ),
        (
            42,
            """
            sg-iso-heel-dig mo-heel-slide sg-bridge-double sg-curl-standing sg-hip-ext-prone
            sg-clam ba-single-leg ca-bike sg-squat-double
            """,
            """
            gait_normal sl_balance_s mmt_prone90 surgeon_clearance
            """,
        ),
        (
            28,
            """
            sg-bridge-single sg-curl-prone ba-forward-lean sg-slider-double sg-rdl-double
            sg-step-up ca-elliptical st-hamstring-ake-active
            """,
            """
            hhd_outer_pct sl_squat_pain surgeon_clearance
            """,
        ),
        (
            56,
            """
            ca-walk-run sg-nordic-assisted sg-slider-single sg-rdl-single sg-bridge-long-lever
            """,
            """
            hhd_outer_pct run_pct_painfree ake_deficit_pct surgeon_clearance
            """,
        ),
        (
            56,
            """
            ca-run-speed-stage ca-change-direction ca-sprint-exposure sg-nordic
            """,
            """
            sprint_pain cod_pain palpation_pain ake_deficit_pct hhd_outer_pct slhb_pct
            htest_insecurity full_trainings ready_self clinician_signoff surgeon_clearance
            """,
        ),
    ],
    "neural-thigh": [
        (
            7,
            """
            ng-sciatic-contra-slider ng-sciatic-supine-slider ng-sciatic-slr-ankle-pump
            co-pelvic-tilt ca-walk ed-sitting-breaks
            """,
            """
            neuro_exam_normal slump_pain slump_diff_deg
            """,
        ),
        (
            10,
            """
            ng-sciatic-seated-slider ng-tibial-slider sg-bridge-single sg-extender sg-curl-prone
            co-bird-dog ca-walk-run
            """,
            """
            neuro_exam_normal slump_pain slump_diff_deg slr_diff_deg
            """,
        ),
        (
            14,
            """
            ng-sciatic-slump-slider ng-sciatic-slr-tensioner sg-diver sg-slider-double
            ca-run-speed-stage
            """,
            """
            neuro_exam_normal slump_diff_deg run_pct_painfree ready_self clinician_signoff
            """,
        ),
    ],
    "deep-gluteal": [
        (
            7,
            """
            st-piriformis-supine-fig4 st-glute-supine ng-sciatic-seated-slider co-pelvic-tilt
            ed-sit-bone-relief fr-glute ed-heat
            """,
            """
            neuro_exam_normal sit_min
            """,
        ),
        (
            14,
            """
            sg-clam sg-hip-abd-sidelying sg-bridge-double st-piriformis-seated-cross
            ng-sciatic-seated-slider sg-sidestep-band
            """,
            """
            neuro_exam_normal sit_min step_down_ok
            """,
        ),
        (
            21,
            """
            sg-step-down sg-split-squat sg-bridge-single sg-lunge-walk-t ca-walk-run
            st-piriformis-fair
            """,
            """
            sit_min step_down_ok ready_self clinician_signoff
            """,
        ),
    ],
    "lumbar-referred": [
        (
            7,
            """
            mo-ext-prone-lying mo-ext-pressup mo-flex-lying mo-knee-rolls co-pelvic-tilt ca-walk
            ed-stay-active ed-ces-card
            """,
            """
            neuro_exam_normal_or_stable leg_sx_code walk_brisk_min
            """,
        ),
        (
            14,
            """
            co-bird-dog co-plank-front sg-bridge-double sg-squat-double ng-sciatic-supine-slider
            st-hamstring-wall mo-cat-camel
            """,
            """
            neuro_exam_normal_or_stable leg_sx_code psfs_change
            """,
        ),
        (
            14,
            """
            sg-rdl-double sg-step-up co-plank-side ca-walk-run ed-lifting
            """,
            """
            neuro_exam_normal_or_stable leg_sx_code run_pct_painfree clinician_signoff
            """,
        ),
    ],
    "prevent-nordic": [
        (
            28,
            """
            sg-nordic-assisted sg-nordic ed-warm-up st-hamstring-towel st-hipflexor-kneeling
            sg-bridge-single
            """,
            """
            slhb_reps
            """,
        ),
        (
            42,
            """
            sg-nordic sg-rdl-double co-plank-side ca-sprint-exposure
            """,
            """
            slhb_reps
            """,
        ),
        (
            0,
            """
            sg-nordic sg-slider-single sg-bridge-single ed-load-progress ed-warm-up
            """,
            "",
        ),
    ],
    "back-hamstring-selfcare": [
        (
            7,
            """
            st-hamstring-towel st-hamstring-wall st-knee-to-chest st-childs-pose co-pelvic-tilt
            st-hipflexor-kneeling ed-heat ed-sitting-breaks
            """,
            """
            walk_pain
            """,
        ),
        (
            21,
            """
            sg-bridge-double sg-curl-prone sg-curl-standing co-plank-front co-ab-crunch
            co-bird-dog fr-hamstring fr-glute st-piriformis-seated-cross
            """,
            """
            psfs_change slr_diff_deg
            """,
        ),
        (
            0,
            """
            sg-bridge-single ca-yoga-pilates ca-swim-pool ed-lifting ed-load-progress
            """,
            "",
        ),
    ],
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
        consider-pht consider-lumbar consider-root distress
    """,
}

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
    pct_of_other days_in_phase
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
    "protocols/metrics.yaml": "b7232841076d537c",
    "protocols/rules.yaml": "43584321bf0d9846",
    "protocols/safety.yaml": "ec54bbc421de92cd",
}
