"""Django admin for operators: clinics and accounts only, behind a second factor."""

from __future__ import annotations

from functools import wraps
from typing import Any, ClassVar
from urllib.parse import urlencode
from zoneinfo import available_timezones

from django import forms
from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone

from backend import tenant
from backend.clinics import actions
from backend.clinics.models import Clinic, User
from backend.clinics.sign_in import has_factor_set_up, has_second_factor


class OperatorSite(admin.AdminSite):
    """Whoever may be here signed in on the usual pages, where tries are counted."""

    site_header = site_title = "Operators"
    index_title = "Clinics and accounts"

    def has_permission(self, request: HttpRequest) -> bool:
        person = request.user
        return (
            super().has_permission(request)
            and isinstance(person, User)
            and has_second_factor(person, request.session)
        )

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Operators are of no clinic: what they see of accounts, they see of all."""

        @wraps(view)
        def across_clinics(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            tenant.enter_everywhere()
            return view(request, *args, **kwargs)

        return super().admin_view(across_clinics, cacheable)

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        onward = request.GET.get("next") or reverse("admin:index")
        person = request.user
        if self.has_permission(request):
            return HttpResponseRedirect(reverse("admin:index"))
        if not isinstance(person, User):
            return redirect_to_login(onward, reverse("account_login"))
        if not super().has_permission(request):
            raise PermissionDenied
        ask = "mfa_reauthenticate" if has_factor_set_up(person) else "mfa_activate_totp"
        return HttpResponseRedirect(f"{reverse(ask)}?{urlencode({'next': onward})}")


site = OperatorSite()


class ClinicForm(forms.ModelForm):  # type: ignore[type-arg]
    def clean_timezone(self) -> str:
        name: str = self.cleaned_data["timezone"]
        if name not in available_timezones():
            raise forms.ValidationError("Not a time zone known here (IANA name).")
        return name


@admin.register(Clinic, site=site)
class ClinicAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    form = ClinicForm
    list_display = ("name", "timezone", "second_factor_required")
    ordering = ("name", "id")
    fields = (
        "name",
        "timezone",
        "second_factor_required",
        "typing_delay_days",
        "upload_delay_days",
        "emergency_number",
        "urgent_contact",
    )

    def save_model(self, request: HttpRequest, obj: Clinic, form: Any, change: bool) -> None:
        if not change:
            obj.created_at = timezone.now()
        super().save_model(request, obj, form, change)

    def has_delete_permission(self, request: HttpRequest, obj: Clinic | None = None) -> bool:
        return False


class AccountForm(forms.ModelForm):  # type: ignore[type-arg]
    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"]
        return email.lower()

    def clean_clinic(self) -> Clinic | None:
        """The database keeps therapists with their patients; here is said why."""
        clinic: Clinic | None = self.cleaned_data["clinic"]
        if "clinic" in self.changed_data and self.instance.caseload.exists():
            raise forms.ValidationError("This person's patients have to be handed over first.")
        return clinic


def _is_superuser(request: HttpRequest) -> bool:
    return isinstance(request.user, User) and request.user.is_superuser


@admin.register(User, site=site)
class AccountAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Staff and operators. They set their password themselves, by a code sent to their address.

    Patients' accounts are their clinic's business and do not show here.
    """

    form = AccountForm
    list_display = ("email", "clinic", "is_physiotherapist", "is_clinic_admin", "is_active")
    list_filter = ("is_active", "is_staff", "clinic")
    list_select_related = ("clinic",)
    search_fields = ("email", "family_name")
    ordering = ("email",)
    fields = (
        "email",
        "given_name",
        "family_name",
        "clinic",
        "is_physiotherapist",
        "is_clinic_admin",
        "can_publish",
        "is_active",
        "is_staff",
        "is_superuser",
        "last_login",
    )
    readonly_fields = ("last_login",)
    operators_only: ClassVar[tuple[str, ...]] = ("is_staff", "is_superuser")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        rows = super().get_queryset(request).filter(patient=None)
        return rows if _is_superuser(request) else rows.filter(is_staff=False)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        """Only a superuser sees, makes and changes operators."""
        return [*self.readonly_fields, *(() if _is_superuser(request) else self.operators_only)]

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if not change:
            obj.set_unusable_password()
        super().save_model(request, obj, form, change)
        if not obj.is_active:
            actions.deactivate(person=obj, now=timezone.now())

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False
