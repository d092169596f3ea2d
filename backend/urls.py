"""Every HTTP route on one page."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path, re_path

from backend.api import (
    account,
    audit,
    clinic,
    documents,
    errors,
    exercises,
    exports,
    health,
    metrics,
    patient,
    pictures,
    reminders,
    reports,
    rights,
    sync,
)
from backend.api.physio import (
    assessments,
    assignments,
    caseload,
    decisions,
    flags,
    patients,
    progressions,
    protocols,
    simulations,
    timeline,
    versions,
)
from backend.api.physio import reminders as told
from backend.clinics.admin import site as operators
from backend.console import assigning, design, episodes, frame, running, spreading
from backend.console import audit as console_audit
from backend.console import caseload as console_caseload
from backend.console import drafts as console_drafts
from backend.console import exercises as console_exercises
from backend.console import exports as console_exports
from backend.console import flags as console_flags
from backend.console import handout as console_handout
from backend.console import patient as console_patient
from backend.console import patients as console_patients
from backend.console import protocols as console_protocols
from backend.console import reports as console_reports
from backend.console import reviews as console_reviews

API: list[URLPattern] = [
    # Everybody
    path("meta", account.Meta.as_view()),
    path("enrolments/check", account.EnrolmentCheck.as_view()),
    path("me", account.Me.as_view()),
    path("me/data", rights.MyData.as_view()),
    path("me/erasure-request", rights.ErasureRequest.as_view()),
    # The app
    path("me/plan", patient.Plan.as_view()),
    path("me/assignments", patient.Assignments.as_view()),
    path("me/sessions", patient.Sessions.as_view()),
    path("me/sessions/<str:id>", patient.SessionOne.as_view()),
    path("me/check-ins", patient.CheckIns.as_view()),
    path("me/check-ins/<str:id>", patient.CheckInOne.as_view()),
    path("me/progress", patient.Progress.as_view()),
    path("me/sync/push", sync.Push.as_view()),
    path("me/sync/changes", sync.Changes.as_view()),
    path("me/devices/<str:id>", account.Device.as_view()),
    path("me/reminder-settings", reminders.Settings.as_view()),
    path("me/reminders", reminders.Reminders.as_view()),
    path("me/reminders/<str:id>/snooze", reminders.Snooze.as_view()),
    path("me/reminder-receipts", reminders.Receipts.as_view()),
    # What can be prescribed
    path("exercises", exercises.Exercises.as_view()),
    path("exercises/<str:id>", exercises.ExerciseOne.as_view()),
    path("protocols", protocols.Protocols.as_view()),
    path("protocols/<str:id>", protocols.ProtocolOne.as_view()),
    path("protocols/<str:id>/draft", protocols.Draft.as_view()),
    path("protocols/<str:id>/check", protocols.Check.as_view()),
    path("protocols/<str:id>/publish", protocols.Publish.as_view()),
    path("protocols/<str:id>/retire", versions.Retire.as_view()),
    path("protocols/<str:id>/versions", versions.Versions.as_view()),
    path("protocols/<str:id>/diff", versions.Compare.as_view()),
    path("protocols/<str:id>/simulations", simulations.Simulations.as_view()),
    # Physiotherapists
    path("caseload", caseload.Caseload.as_view()),
    path("patients", patients.Patients.as_view()),
    path("patients/<str:id>", patients.PatientOne.as_view()),
    path("patients/<str:id>/legal-hold", rights.Hold.as_view()),
    path("patients/<str:id>/erasure", rights.PatientErasure.as_view()),
    path("patients/<str:id>/invitations", patients.Invitations.as_view()),
    path("patients/<str:id>/episodes", patients.Episodes.as_view()),
    path("episodes/<str:id>", patients.EpisodeOne.as_view()),
    path("patients/<str:id>/sessions", patients.Sessions.as_view()),
    path("patients/<str:id>/check-ins", patients.CheckIns.as_view()),
    path("patients/<str:id>/timeline", timeline.PatientTimeline.as_view()),
    path("patients/<str:id>/reminders", told.Reminders.as_view()),
    path("patients/<str:id>/assessments", assessments.Assessments.as_view()),
    path("patients/<str:id>/stop-clearances", flags.StopClearances.as_view()),
    path("patients/<str:id>/assignments", assignments.Assignments.as_view()),
    path("patients/<str:id>/assignments/preview", assignments.Preview.as_view()),
    path("assignments/<str:id>", assignments.AssignmentOne.as_view()),
    path("assignments/<str:id>/decisions", decisions.Decisions.as_view()),
    path("assignments/<str:id>/decisions/<str:date>", decisions.DecisionOne.as_view()),
    path("assignments/<str:id>/pause", assignments.Pause.as_view()),
    path("assignments/<str:id>/resume", assignments.Resume.as_view()),
    path("assignments/<str:id>/end", assignments.End.as_view()),
    path("flags", flags.Flags.as_view()),
    path("flags/<str:id>/acknowledge", flags.Acknowledge.as_view()),
    path("flags/<str:id>/resolve", flags.Resolve.as_view()),
    path("assignments/<str:id>/progressions", progressions.Evaluate.as_view()),
    path("assignments/<str:id>/version-proposals", progressions.NewerVersion.as_view()),
    path("exports", exports.Exports.as_view()),
    path("exports/<str:id>", exports.ExportOne.as_view()),
    path("exports/<str:id>/file", exports.File.as_view()),
    path("progressions", progressions.Progressions.as_view()),
    path("progressions/<str:id>", progressions.ProgressionOne.as_view()),
    path("progressions/<str:id>/decision", progressions.Decide.as_view()),
    # Who runs the clinic
    path("clinic", clinic.Settings.as_view()),
    path("staff", clinic.Staff.as_view()),
    path("staff/<str:id>", clinic.StaffOne.as_view()),
    path("service-tokens", clinic.ServiceTokens.as_view()),
    path("service-tokens/<str:id>", clinic.ServiceTokenOne.as_view()),
    path("audit-events", audit.AuditEvents.as_view()),
    path("reports/adherence", reports.Adherence.as_view()),
]

# The screens for staff: address, and the name that links and the navigation know it by.
CONSOLE: list[URLPattern] = [
    path("", frame.Home.as_view(), name="home"),
    path("caseload", console_caseload.Caseload.as_view(), name="caseload"),
    path("design", design.Design.as_view(), name="design"),
    # A patient
    path("patients/<str:id>", console_patient.Overview.as_view(), name="patient"),
    path(
        "patients/<str:id>/exercises",
        console_patient.Exercises.as_view(),
        name="patient_exercises",
    ),
    path("patients/<str:id>/log", console_patient.Log.as_view(), name="patient_log"),
    path("patients/<str:id>/plan", console_patient.Plan.as_view(), name="patient_plan"),
    path("patients/<str:id>/tests", console_patient.Tests.as_view(), name="patient_tests"),
    path("patients/<str:id>/history", console_patient.History.as_view(), name="patient_history"),
    # Flags
    path("patients/<str:id>/clear-stop", console_flags.ClearStop.as_view(), name="clear_stop"),
    path("patients/<str:id>/flags/<str:flag>", console_flags.Deal.as_view(), name="flag"),
    path("patients/<str:id>/flags/<str:flag>/seen", console_flags.See.as_view(), name="flag_seen"),
    path("patients/<str:id>/flags/<str:flag>/undo", console_flags.Undo.as_view(), name="flag_undo"),
    path("reviews", console_reviews.Reviews.as_view(), name="reviews"),
    path("reviews/<str:id>", console_reviews.Review.as_view(), name="review"),
    path("patients/<str:id>/episodes/new", episodes.EpisodeNew.as_view(), name="episode_new"),
    path("patients/<str:id>/episodes/<str:episode>", episodes.EpisodeOne.as_view(), name="episode"),
    path("patients/<str:id>/assign", assigning.Assign.as_view(), name="assign"),
    path("patients/<str:id>/assign/preview", assigning.Preview.as_view(), name="assign_preview"),
    path("patients/<str:id>/screening", assigning.Screening.as_view(), name="screening"),
    path("assignments/<str:id>/tailor", assigning.Tailor.as_view(), name="tailor"),
    path("assignments/<str:id>/pause", assigning.Pause.as_view(), name="pause"),
    path("assignments/<str:id>/resume", assigning.Resume.as_view(), name="resume"),
    path("assignments/<str:id>/end", assigning.End.as_view(), name="end"),
    # Accounting, and running a clinic
    path("reports", console_reports.Reports.as_view(), name="reports"),
    path("exports", console_exports.Exports.as_view(), name="exports"),
    path("new-export", console_exports.ExportNew.as_view(), name="new-export"),
    path("exports/<str:id>/file", console_exports.ExportFile.as_view(), name="export_file"),
    path("staff", running.Staff.as_view(), name="staff"),
    path("invite-staff", running.Invite.as_view(), name="invite-staff"),
    path("staff/<str:id>", running.StaffOne.as_view(), name="staff_one"),
    path("staff/<str:id>/undo", running.StaffUndo.as_view(), name="staff_undo"),
    path("audit", console_audit.Audit.as_view(), name="audit"),
    path("settings", running.Settings.as_view(), name="settings"),
    path("settings/undo", running.SettingsUndo.as_view(), name="settings_undo"),
    # Patients, and what can be given to them
    path("patients", console_patients.Patients.as_view(), name="patients"),
    path("enrol", console_patients.Enrol.as_view(), name="enrol"),
    path("patients/<str:id>/account", console_patients.Account.as_view(), name="patient_account"),
    path("patients/<str:id>/change", console_patients.Change.as_view(), name="patient_change"),
    path(
        "patients/<str:id>/invitations/<str:token>",
        console_patients.Told.as_view(),
        name="invitation",
    ),
    path("exercises", console_exercises.Exercises.as_view(), name="exercises"),
    path("exercises/<str:id>", console_exercises.ExerciseOne.as_view(), name="exercise"),
    path("assignments/<str:id>/handout", console_handout.ToPrint.as_view(), name="handout"),
    path("assignments/<str:id>/handout.pdf", console_handout.AsPDF.as_view(), name="handout_pdf"),
    path("protocols", console_protocols.Protocols.as_view(), name="protocols"),
    path("protocols/<str:id>", console_protocols.Protocol.as_view(), name="protocol"),
    path("protocols/<str:id>/draft", console_drafts.Draft.as_view(), name="draft"),
    path("protocols/<str:id>/try", spreading.Try.as_view(), name="protocol_try"),
    path("protocols/<str:id>/older", spreading.Older.as_view(), name="protocol_older"),
    path("protocols/<str:id>/publish", console_drafts.Publish.as_view(), name="draft_publish"),
    path("protocols/<str:id>/retire", console_protocols.Retire.as_view(), name="protocol_retire"),
    path(
        "protocols/<str:id>/differences",
        console_protocols.Differences.as_view(),
        name="protocol_differences",
    ),
    path("<path:rest>", frame.Unknown.as_view()),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/", include(API)),
    path("api/auth/", include("allauth.headless.urls")),
    path("api/schema.json", documents.Schema.as_view()),
    path("api/docs", documents.Docs.as_view()),
    path("problems/<slug:code>", documents.problem_page),
    path("invitations/<str:token>", patients.print_page),
    path("media/<str:digest>/<slug:slug>.svg", pictures.picture),
    path("accounts/", include("allauth.account.urls")),
    path("accounts/2fa/", include("allauth.mfa.urls")),
    path("accounts/sessions/", include("allauth.usersessions.urls")),
    path("console", frame.Home.as_view()),
    path("console/", include((CONSOLE, "console"))),
    path("admin/", operators.urls),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", metrics.metrics),
    re_path("", errors.unknown_address),  # also in development: a problem, never a debug page
]

handler400 = errors.bad_request
handler403 = errors.permission_denied
handler404 = errors.not_found
handler500 = errors.server_error
