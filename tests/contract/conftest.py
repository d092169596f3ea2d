"""The contract is tested against the same cast as the service."""

from tests.service.conftest import (  # noqa: F401
    ana,
    bea,
    ben,
    cleo,
    django_db_setup,
    elsewhere,
    grade_1,
    harbour,
    library,
    no_rates_remembered,
    nobody,
    now,
    olga,
    plan_of_ben,
    thigh,
)
