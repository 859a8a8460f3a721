"""What an operator does to a tenant on the server: look, suspend, resume, host names, limits."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django_scopes import scope

from accounts import services
from accounts.hosts import domain_name
from accounts.models import KeyMode, Tenant, TenantDomain
from accounts.quotas import Quota, usage_of
from accounts.selectors import domains_of
from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError

ACTOR = Actor.command("tenant")


class Command(BaseCommand):
    """Exit code 0: done. 1: refused, with the reason."""

    help = "Show or change a tenant. Locks are made by manage.py panic."

    def add_arguments(self, parser: CommandParser) -> None:
        steps = parser.add_subparsers(dest="step", required=True, parser_class=type(parser))
        for step, explanation in (
            ("show", "its state, host names and how much of its limits is used"),
            ("suspend", "close it: no portal, no relay, no signing"),
            ("resume", "open it again"),
            ("add-domain", "serve a host name, for which whoever runs this vouches"),
            ("check-domain", "look in the DNS for the proof of a host name that the tenant claims"),
            ("remove-domain", "stop serving a host name that is not the primary one"),
            ("set-primary", "use a host name in addresses given out from now on"),
            ("key-modes", "choose the key modes that its people may use, such as --mode encrypted --mode hsm"),
            ("quotas", "set limits, such as --set keys=100; --set keys=default takes one back"),
        ):
            sub = steps.add_parser(step, help=explanation)
            sub.add_argument("slug", help="the tenant's short name")
            sub.add_argument("--json", action="store_true", help="print the tenant as one JSON object")
            sub.add_argument("--reason", default="", help="written to the audit log")
            if step.endswith("domain") or step == "set-primary":
                sub.add_argument("host", help="host name, such as keys.example.com")
            if step == "key-modes":
                sub.add_argument(
                    "--mode", action="append", required=True, choices=KeyMode.values, help="first: the default"
                )
            if step == "quotas":
                names = ", ".join(quota.value for quota in Quota)
                sub.add_argument("--set", action="append", required=True, metavar="NAME=NUMBER", help=f"one of {names}")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = Tenant.objects.filter(slug=options["slug"]).first()
        if tenant is None:
            raise CommandError("There is no tenant with that short name.")
        try:
            with scope(tenant=tenant):
                _SERVICES[options["step"]](tenant, options)
        except KeycastError as refusal:
            raise CommandError(refusal.public_message) from None
        facts = facts_of(Tenant.objects.get(id=tenant.id))
        self.stdout.write(json.dumps(facts) if options["json"] else "\n".join(_lines(facts)))


def facts_of(tenant: Tenant) -> dict[str, Any]:
    """The tenant as it is now."""
    return {
        "id": str(tenant.id),
        "slug": tenant.slug,
        "name": tenant.name,
        "state": tenant.state,
        "key_modes": tenant.key_modes,
        "domains": [
            {"host": domain.host, "verified": domain.verified_at is not None, "primary": domain.is_primary,
             "problem": domain.problem}
            for domain in domains_of(tenant)
        ],
        "usage": {usage.quota.value: {"used": usage.used, "limit": usage.limit} for usage in usage_of(tenant)},
    }  # fmt: skip


def _lines(facts: dict[str, Any]) -> list[str]:
    lines = [f"{facts['name']} ({facts['slug']}): {facts['state']}", f"  key modes: {', '.join(facts['key_modes'])}"]
    for domain in facts["domains"]:
        kind = "primary" if domain["primary"] else "proved" if domain["verified"] else "not proved"
        lines.append(f"  {domain['host']}: {kind}. {domain['problem']}".rstrip(" ."))
    for name, usage in facts["usage"].items():
        lines.append(f"  {name}: {usage['used']} of {'no limit' if usage['limit'] is None else usage['limit']}")
    return lines


def _key_modes(tenant: Tenant, options: dict[str, Any]) -> None:
    modes = list(dict.fromkeys(options["mode"]))
    services.change_tenant(actor=ACTOR, tenant=tenant, key_modes=modes)


def _quotas(tenant: Tenant, options: dict[str, Any]) -> None:
    limits: dict[str, int | None] = {}
    for text in options["set"]:
        name, _, number = text.partition("=")
        if name not in {quota.value for quota in Quota} or not (
            number == "default" or (number.isascii() and number.isdigit())
        ):
            raise CommandError(f"{text!r} is no limit. Write NAME=NUMBER, or NAME=default.")
        limits[name] = None if number == "default" else int(number)
    services.set_quotas(actor=ACTOR, tenant=tenant, reason=options["reason"], **limits)


def _domain(tenant: Tenant, options: dict[str, Any]) -> TenantDomain:
    found = TenantDomain.objects.filter(tenant=tenant, host=domain_name(options["host"])).first()
    if found is None:
        raise CommandError("The tenant has no such host name.")
    return found


def _check(tenant: Tenant, options: dict[str, Any]) -> None:
    domain = services.check_domain(actor=ACTOR, domain=_domain(tenant, options))
    if domain.verified_at is None:
        raise CommandError(domain.problem)


_SERVICES = {
    "show": lambda tenant, options: None,
    "suspend": lambda tenant, options: services.suspend_tenant(actor=ACTOR, tenant=tenant, reason=options["reason"]),
    "resume": lambda tenant, options: services.resume_tenant(actor=ACTOR, tenant=tenant, reason=options["reason"]),
    "add-domain": lambda tenant, options: services.vouch_for_domain(
        actor=ACTOR, tenant=tenant, host=options["host"], reason=options["reason"]
    ),
    "check-domain": _check,
    "remove-domain": lambda tenant, options: services.remove_domain(actor=ACTOR, domain=_domain(tenant, options)),
    "set-primary": lambda tenant, options: services.make_domain_primary(actor=ACTOR, domain=_domain(tenant, options)),
    "key-modes": _key_modes,
    "quotas": _quotas,
}
