"""Addresses of the portal's frame."""

from __future__ import annotations

from django.urls import path

from accounts.portal import domains, emergency, people, tenant, views

app_name = "portal"
urlpatterns = [
    path("", views.home, name="home"),
    path("security/", views.security, name="security"),
    path("emergency/", emergency.emergency, name="emergency"),
    path("emergency/lock/mine/", emergency.lock_mine, name="emergency_lock_mine"),
    path("emergency/lock/everybody/", emergency.lock_everybody, name="emergency_lock_everybody"),
    path("emergency/ask/mine/", emergency.ask_for_mine, name="emergency_ask_mine"),
    path("emergency/ask/everybody/", emergency.ask_for_everybody, name="emergency_ask_everybody"),
    path("emergency/requests/<uuid:release_id>/", emergency.decide, name="emergency_decide"),
    path("emergency/requests/<uuid:release_id>/withdraw/", emergency.withdraw, name="emergency_withdraw"),
    path("settings/", tenant.overview, name="settings"),
    path("settings/look/", tenant.branding, name="settings_look"),
    path("settings/registration/", tenant.registration, name="settings_registration"),
    path("settings/host-names/", domains.domains, name="domains"),
    path("settings/host-names/<int:domain_id>/", domains.domain, name="domain"),
    path("settings/host-names/<int:domain_id>/check/", domains.check, name="domain_check"),
    path("settings/host-names/<int:domain_id>/renew/", domains.renew, name="domain_renew"),
    path("settings/host-names/<int:domain_id>/primary/", domains.make_primary, name="domain_primary"),
    path("settings/host-names/<int:domain_id>/remove/", domains.remove, name="domain_remove"),
    path("people/", people.people, name="people"),
    path("people/invite/", people.invite_person, name="invite"),
    path("people/<int:membership_id>/role/", people.set_role, name="person_role"),
    path("people/<int:membership_id>/suspend/", people.suspend, name="person_suspend"),
    path("people/<int:membership_id>/resume/", people.resume, name="person_resume"),
    path("people/invitations/<uuid:invitation_id>/withdraw/", people.withdraw, name="invitation_withdraw"),
]
