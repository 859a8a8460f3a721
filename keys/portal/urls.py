"""Addresses of the pages about keys."""

from __future__ import annotations

from django.urls import path

from keys.portal import converting, cosigner_record, exporting, importing, replacing, succession, tenant, views

app_name = "keys"
urlpatterns = [
    path("settings/keys/", tenant.modes, name="settings"),
    path("keys/", views.key_list, name="list"),
    path("keys/new/", views.create, name="create"),
    path("keys/import/", importing.import_secret, name="import"),
    path("keys/import/split/", importing.begin_split_import, name="begin_split_import"),
    path("keys/<uuid:key_id>/", views.detail, name="detail"),
    path("keys/<uuid:key_id>/progress/", views.progress, name="progress"),
    path("keys/<uuid:key_id>/remove/", views.remove, name="remove"),
    path("keys/<uuid:key_id>/cosigner/", cosigner_record.record, name="cosigner_record"),
    path("keys/<uuid:key_id>/cosigner/status/", cosigner_record.status, name="cosigner_status"),
    path("keys/<uuid:key_id>/cosigner/end-reading/", cosigner_record.end_reading, name="end_reading"),
    path("keys/<uuid:key_id>/rename/", views.rename, name="rename"),
    path("keys/<uuid:key_id>/lock/", views.lock, name="lock"),
    path("keys/<uuid:key_id>/unlock/", views.unlock, name="unlock"),
    path("keys/<uuid:key_id>/enable/", views.enable, name="enable"),
    path("keys/<uuid:key_id>/destroy/", views.destroy, name="destroy"),
    path("keys/<uuid:key_id>/convert/", converting.convert, name="convert"),
    path("keys/<uuid:key_id>/convert/progress/", converting.progress, name="convert_progress"),
    path("keys/<uuid:key_id>/convert/stop/", converting.cancel_conversion, name="convert_stop"),
    path("keys/<uuid:key_id>/export/", exporting.export, name="export"),
    path("keys/<uuid:key_id>/export/cancel/", exporting.cancel, name="cancel_export"),
    path("keys/<uuid:key_id>/export/take/", exporting.take, name="take_export"),
    path("keys/export/cancel/<str:token>/", exporting.cancel_by_mail, name="cancel_export_by_mail"),
    path("keys/<uuid:key_id>/replace/", replacing.replace, name="replace"),
    path("keys/<uuid:key_id>/hsm-key/refuse/", succession.refuse, name="refuse_successor"),
    path("keys/<uuid:key_id>/keep/", views.keep, name="keep"),
]
