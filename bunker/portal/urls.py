"""Addresses of the pages about connected apps."""

from __future__ import annotations

from django.urls import path

from bunker.portal import audit, connecting, ending, tenant, views

app_name = "apps"
urlpatterns = [
    path("settings/policies/", tenant.policies, name="settings_policies"),
    path("settings/relays/", tenant.relays, name="settings_relays"),
    path("audit/", audit.log, name="audit"),
    path("audit/export/", audit.export, name="audit_export"),
    path("apps/", views.app_list, name="list"),
    path("apps/connect/", connecting.connect, name="connect"),
    path("apps/approve/", connecting.approve, name="approve"),
    path("apps/end/<str:token>/", ending.end_by_mail, name="end_by_mail"),
    path("apps/<uuid:connection_id>/", views.detail, name="detail"),
    path("apps/<uuid:connection_id>/status/", views.status, name="status"),
    path("apps/<uuid:connection_id>/rename/", views.rename, name="rename"),
    path("apps/<uuid:connection_id>/request-rate/", views.set_request_rate, name="set_request_rate"),
    path("apps/<uuid:connection_id>/lift-narrowing/", views.lift_narrowing, name="lift_narrowing"),
    path("apps/<uuid:connection_id>/lock/", views.lock, name="lock"),
    path("apps/<uuid:connection_id>/unlock/", views.unlock, name="unlock"),
    path("apps/<uuid:connection_id>/revoke/", views.revoke, name="revoke"),
    path("keys/<uuid:key_id>/activity/", views.key_activity, name="key_activity"),
]
