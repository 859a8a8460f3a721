"""Figures over time: how many requests each tenant's keys answered, refused or failed, and how long that took.

Figures, not evidence: what happened is in the audit log. A worker that is killed loses at most its last minute of them.
"""
