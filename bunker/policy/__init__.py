"""The decision function: pure, no Django, no clock, no database. Default deny; deny beats ask beats allow."""

from bunker.policy.decisions import Allow, Ask, Decision, Deny
from bunker.policy.describe import describe, kind_name
from bunker.policy.document import PolicyDocument, PolicyError, parse_document
from bunker.policy.engine import CompiledPolicy, RequestedUse, compile_policy
from bunker.policy.kinds import FORBIDDEN_KINDS, KIND_NAMES, SENSITIVE_KINDS
from bunker.policy.templates import TEMPLATES, PolicyTemplate

__all__ = [
    "FORBIDDEN_KINDS",
    "KIND_NAMES",
    "SENSITIVE_KINDS",
    "TEMPLATES",
    "Allow",
    "Ask",
    "CompiledPolicy",
    "Decision",
    "Deny",
    "PolicyDocument",
    "PolicyError",
    "PolicyTemplate",
    "RequestedUse",
    "compile_policy",
    "describe",
    "kind_name",
    "parse_document",
]
