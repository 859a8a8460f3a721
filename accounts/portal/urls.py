"""Addresses of the portal's frame."""

from __future__ import annotations

from django.urls import path

from accounts.portal import people, views

app_name = "portal"
urlpatterns = [
    path("", views.home, name="home"),
    path("security/", views.security, name="security"),
    path("people/", people.people, name="people"),
]
