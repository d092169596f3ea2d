"""Charts of the console: frozen values in, a figure as markup out.

Plain Python: no database, no clock, no script and no style of its own. Meaning never rests on
colour alone, and what is unknown is drawn as unknown: never as zero, and never bridged by a line.
"""

from backend.console.charts.doses import dose_charts
from backend.console.charts.dots import cohort_dots
from backend.console.charts.drawing import Chart, together
from backend.console.charts.heat import adherence_heat_map
from backend.console.charts.ladder import criteria_ladder
from backend.console.charts.strips import pain_sparkline, week_strip, weeks_on_target
from backend.console.charts.timeline import recovery_timeline

__all__ = [
    "Chart",
    "adherence_heat_map",
    "cohort_dots",
    "criteria_ladder",
    "dose_charts",
    "pain_sparkline",
    "recovery_timeline",
    "together",
    "week_strip",
    "weeks_on_target",
]
