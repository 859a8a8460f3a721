"""Refusals with the details that Google gives (google.rpc.Status, AIP-193): a status code, a text, typed reasons."""

from __future__ import annotations

from typing import Any, Final, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo, PreconditionFailure, RetryInfo
from google.rpc.status_pb2 import Status

DOMAIN: Final = "cloudkms.googleapis.com"
DETAILS_KEY: Final = "grpc-status-details-bin"


class KmsEmulatorError(Exception):
    """An answer with a status other than OK. ``details`` are messages of google.rpc."""

    def __init__(self, code: grpc.StatusCode, text: str, *details: Any) -> None:
        super().__init__(text)
        self.code, self.text, self.details = code, text, details

    def abort(self, context: grpc.ServicerContext) -> NoReturn:
        """End the call with it."""
        if self.details:
            packed = []
            for detail in self.details:
                message = AnyMessage()
                message.Pack(detail)
                packed.append(message)
            status = Status(code=self.code.value[0], message=self.text, details=packed)
            context.set_trailing_metadata(((DETAILS_KEY, status.SerializeToString()),))
        context.abort(self.code, self.text)
        raise AssertionError  # abort raises


def permission_denied(permission: str, resource: str) -> KmsEmulatorError:
    """As for a key that does not exist: who may not use it is not told whether it is there."""
    text = f"Permission '{permission}' denied on resource '{resource}' (or it may not exist)."
    facts = {"permission": permission, "resource": resource}
    info = ErrorInfo(reason="IAM_PERMISSION_DENIED", domain=DOMAIN, metadata=facts)
    return KmsEmulatorError(grpc.StatusCode.PERMISSION_DENIED, text, info)


def unauthenticated() -> KmsEmulatorError:
    text = (
        "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other "
        "valid authentication credential."
    )
    info = ErrorInfo(reason="CREDENTIALS_MISSING", domain="googleapis.com", metadata={"service": DOMAIN})
    return KmsEmulatorError(grpc.StatusCode.UNAUTHENTICATED, text, info)


def quota_exceeded(metric: str, limit: int, project: str) -> KmsEmulatorError:
    """One call too many in this second."""
    text = (
        f"Quota exceeded for quota metric '{metric}' and limit '{metric} per minute per region' of service "
        f"'{DOMAIN}' for consumer '{project}'."
    )
    facts = {"service": DOMAIN, "quota_metric": metric, "quota_limit_value": str(limit), "consumer": project}
    info = ErrorInfo(reason="RATE_LIMIT_EXCEEDED", domain="googleapis.com", metadata=facts)
    retry = RetryInfo()
    retry.retry_delay.seconds = 1
    return KmsEmulatorError(grpc.StatusCode.RESOURCE_EXHAUSTED, text, info, retry)


def not_enabled(version: str, state: str) -> KmsEmulatorError:
    """A version that is in another state than the call needs."""
    violation = PreconditionFailure.Violation(type=f"KEY_{state}", subject=version)
    text = f"{version} is not enabled, current state is: {state}."
    return KmsEmulatorError(grpc.StatusCode.FAILED_PRECONDITION, text, PreconditionFailure(violations=[violation]))


def not_found(kind: str, name: str) -> KmsEmulatorError:
    return KmsEmulatorError(grpc.StatusCode.NOT_FOUND, f"{kind} {name} not found.")
