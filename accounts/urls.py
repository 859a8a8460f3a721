"""Addresses under /account/: sign-in, sign-up, second factors (allauth), and invitations."""

from __future__ import annotations

from django.urls import include, path

from accounts import views

urlpatterns = [
    path("invitation/", views.invitation_welcome, name="accounts_invitation_welcome"),
    path("invitation/<str:token>/", views.follow_invitation, name="accounts_invitation"),
    path("", include("allauth.urls")),
]
