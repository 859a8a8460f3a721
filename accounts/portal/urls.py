"""Addresses of the portal's frame."""

from __future__ import annotations

from django.urls import path

from accounts.portal import people, views

app_name = "portal"
urlpatterns = [
    path("", views.home, name="home"),
    path("security/", views.security, name="security"),
    path("people/", people.people, name="people"),
    path("people/invite/", people.invite_person, name="invite"),
    path("people/<int:membership_id>/role/", people.set_role, name="person_role"),
    path("people/<int:membership_id>/suspend/", people.suspend, name="person_suspend"),
    path("people/<int:membership_id>/resume/", people.resume, name="person_resume"),
    path("people/invitations/<uuid:invitation_id>/withdraw/", people.withdraw, name="invitation_withdraw"),
]
