"""A new HSM key waits at the co-signer for its day: the owner and staff are told, see it, and may refuse it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from accounts.models import User
from accounts.models.mail import OutgoingMail
from accounts.staff.roles import StaffRole
from keycast.audit.entries import Actor
from keycast.audit.tags import AuditTag
from keycast.base.errors import NotPermitted
from keys import services
from keys.hsm.protocol import HsmKeyPhase
from keys.models import AuthoriserProof, ProofKind, Rotation, RotationState
from keys.models.hsm import Succession, SuccessionStep
from keys.portal.succession import shown
from keys.signing.cosigning.client import blocking
from keys.signing.cosigning.errors import AuthoriserUnproven, NothingToRefuse, SuccessorRefused, SuccessorWaits
from keys.split import maintenance, succession
from tests.keys.conftest import make_tenant, make_user
from tests.keys.cosigner.rows import again
from tests.keys.split.conversion.split import split_key
from tests.keys.split.conversion.support import signs
from tests.keys.split.conversion.test_succession import finish, keeper, phase, replace, tags_of

pytestmark = pytest.mark.opens_keys
DAY = timedelta(days=1)


@pytest.fixture
def waiting(deployment):
    """The co-signer as it is by default: it waits a day."""
    process = deployment.process
    process.stop()
    process.environment["KEYCAST_COSIGNER_AUTHORISER_DELAY_HOURS"] = "24"
    process.start()
    yield deployment
    process.stop()
    process.environment["KEYCAST_COSIGNER_AUTHORISER_DELAY_HOURS"] = "0"
    process.start()


def day_has_come(deployment):
    """By the co-signer's clock and ours."""
    process = deployment.process
    process.stop()
    process.environment["KEYCAST_COSIGNER_AUTHORISER_DELAY_HOURS"] = "0"
    process.start()
    Succession.objects.update(waits_until=timezone.now() - DAY)


def mails():
    return sorted(OutgoingMail.objects.values_list("pk", flat=True))


def test_it_waits_and_the_present_one_goes_on_until_its_day(waiting):
    key = split_key(waiting)
    for _ in range(2):
        with pytest.raises(SuccessorWaits, match="UTC"):
            replace(key)
    going = Succession.objects.get()
    assert going.step == SuccessionStep.WAITING
    assert timezone.now() + timedelta(hours=23) < going.waits_until < timezone.now() + timedelta(hours=25)
    assert again(key).kms_key_name == key.kms_key_name
    assert signs(key)
    assert tags_of(key).count(AuditTag.HSM_KEY_ANNOUNCED) == 1
    assert succession.resume(maintenance.authoriser_of, keeper(), provider="google") == 0
    assert Succession.objects.get().problem == ""
    day_has_come(waiting)
    assert succession.resume(maintenance.authoriser_of, keeper(), provider="google") == 1
    assert again(key).kms_key_name == going.kms_key_name
    assert signs(key)
    assert finish() == 1


def test_its_owner_and_who_operates_the_platform_are_told_once(waiting):
    staff = make_user(waiting.tenant)
    User.objects.filter(pk=staff.pk).update(is_staff=True, staff_role=StaffRole.OPERATOR)
    key = split_key(waiting)
    before = len(mails())
    for _ in range(2):
        with pytest.raises(SuccessorWaits):
            replace(key)
    assert len(mails()) == before + 2
    view = shown(again(key))["hsm_successor"]
    assert view.version == Succession.objects.get().kms_key_version
    assert not view.is_refused


def test_who_may_not_manage_the_key_cannot_refuse_and_nothing_waits_to_be_refused(waiting):
    key = split_key(waiting)
    with pytest.raises(NothingToRefuse):
        services.refuse_successor(actor=Actor.user(waiting.user), key=key)
    with pytest.raises(SuccessorWaits):
        replace(key)
    with pytest.raises(NotPermitted):
        services.refuse_successor(actor=Actor.user(make_user(make_tenant())), key=key)


def test_what_its_owner_refuses_reaches_the_co_signer_and_never_authorises(waiting):
    key = split_key(waiting)
    with pytest.raises(SuccessorWaits):
        replace(key)
    going = Succession.objects.get()
    services.refuse_successor(actor=Actor.user(waiting.user), key=again(key), reason="not me")
    assert shown(again(key))["hsm_successor"].is_refused
    assert succession.resume(maintenance.authoriser_of, keeper(), provider="google") == 0
    assert not Succession.objects.exists()
    assert phase(going.kms_key_name) is HsmKeyPhase.FAILED, "its version is on its way out"
    assert tags_of(key)[-1] == AuditTag.HSM_KEY_REFUSED
    state = blocking(lambda b: b.authoriser_state(key.tenant_id, key.id))
    assert (state.coming, state.waiting) == (b"", b"")
    refused = bytes.fromhex(going.authoriser_public_key)
    with pytest.raises(SuccessorRefused):
        blocking(lambda b: b.succeed_authoriser(key.tenant_id, key.id, refused, succession._NOT_ASKED_FOR))
    assert signs(key)
    with pytest.raises(SuccessorWaits):
        replace(key)  # another one may be tried


def test_a_rotation_ends_with_what_waits_in_its_notes(waiting, capsys):
    key = split_key(waiting)
    call_command("rotate_kms_key", "--key", str(key.id))
    assert "1 wait at the co-signer" in capsys.readouterr().out
    assert Rotation.objects.get().state == RotationState.DONE
    day_has_come(waiting)
    assert maintenance.resume_all() >= 1
    assert again(key).kms_key_name != key.kms_key_name


def test_the_proof_of_a_key_is_kept_and_its_successors_takes_its_place(deployment):
    key = split_key(deployment)
    first = AuthoriserProof.objects.get(key=key)
    assert (first.kind, first.kms_key_version) == (ProofKind.ATTESTATION, key.kms_key_version)
    assert first.statement
    assert "BEGIN CERTIFICATE" in first.certificates
    assert "emulator" in shown(again(key))["hsm_key"].proof
    replace(key)
    assert AuthoriserProof.objects.get(key=key).kms_key_version == again(key).kms_key_version


def test_an_hsm_without_attestations_needs_the_operators_yes(deployment, settings):
    key = split_key(deployment)
    deployment.emulator.apply({"attests": False})
    with pytest.raises(AuthoriserUnproven):
        replace(key)
    going = Succession.objects.get()
    order = ("cosigner", "approve", "--key", str(key.id), going.authoriser_public_key, "--reason", "seen it made")
    settings.COSIGNER_DB = deployment.process.environment["KEYCAST_COSIGNER_DB"]
    call_command(*order)
    replace(key)
    assert AuthoriserProof.objects.get(key=key).kind == ProofKind.OPERATOR
