"""The roots that attestations of Google Cloud HSM are verified to.

Two for each attestation, as Google's own script has it (GoogleCloudPlatform/python-docs-samples, kms/attestations,
verify_attestation_chains.py): the maker's, whose devices these are, and the owner's, who runs them. A folder of
``KEYCAST_COSIGNER_ATTESTATION_ROOTS`` takes the place of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from cryptography import x509

# Marvell LiquidSecurity (formerly Cavium), published by marvell.com (liquid_security_certificate.zip). Reissued in 2024
# for ten years with the same name and the same key, but with a serial number of 0, which RFC 5280 forbids: this is the
# certificate of 2015; dates are not looked at (keys.cosigner.attestation.chains). SHA-256
# 975757f0d76640e03d14760f8fc9e3a55826fa7807b2c392f7801a95bd69cc28.
MANUFACTURER: Final = b"""\
-----BEGIN CERTIFICATE-----
MIIDoDCCAogCCQDA6q30NN7cFzANBgkqhkiG9w0BAQsFADCBkTELMAkGA1UEBhMC
VVMxEzARBgNVBAgMCkNhbGlmb3JuaWExETAPBgNVBAcMCFNhbiBKb3NlMRUwEwYD
VQQKDAxDYXZpdW0sIEluYy4xFzAVBgNVBAsMDkxpcXVpZFNlY3VyaXR5MSowKAYD
VQQDDCFsb2NhbGNhLmxpcXVpZHNlY3VyaXR5LmNhdml1bS5jb20wHhcNMTUxMTE5
MTM1NTI1WhcNMjUxMTE2MTM1NTI1WjCBkTELMAkGA1UEBhMCVVMxEzARBgNVBAgM
CkNhbGlmb3JuaWExETAPBgNVBAcMCFNhbiBKb3NlMRUwEwYDVQQKDAxDYXZpdW0s
IEluYy4xFzAVBgNVBAsMDkxpcXVpZFNlY3VyaXR5MSowKAYDVQQDDCFsb2NhbGNh
LmxpcXVpZHNlY3VyaXR5LmNhdml1bS5jb20wggEiMA0GCSqGSIb3DQEBAQUAA4IB
DwAwggEKAoIBAQDckvqQM4cvZjdyqOLGMTjKJwvfxJOhVqw6pojgUMz10VU7z3Ct
JrwHcESwEDUxUkMxzof55kForURLaVVCjedYauEisnZwwSWkAemp9GREm8iX6BXt
oZ8VDWoO2H0AJiHCM62qJeZVXhm8A/zWG0PyLrCINH0yz9ah6BcwdsZGLvQvkpUN
JhwVMrb9nI9BlRmTWhoot1YSTf7jfibEkc/pN+0Ez30RFaL3MhyIaNJS22+10tny
4sOUTsPEtXKah5mPlHpnrGcB18z5Yxgr0vDNYx+FCPGo95XGrq9NYfNMlwsSeFSr
8D1VQ7HZmipeTB1hQTUQw/K/Rmtw5NiljkYTAgMBAAEwDQYJKoZIhvcNAQELBQAD
ggEBAJjqbFaa3FOXEXcXPX2lCHdcyl8TwOR9f3Rq87MEfb3oeK9FarNkUCdvuGs3
OkAWoFib/9l2F7ZgaNlJqVrwBaOvYuGguQoUpDybqttYUJVLcu9vA9eZA+UCJdhd
P7fCyGMO+G96cnG3GTS1/SrIDU+YCnVElQ0P/73/de+ImoeMkwcqiUi2lsf3vGGR
YXMt/DxUwjXwjIpWCs+37cwbNHAv0VKDOR/jmNf5EZf+sy4x2rJZ1NS6eDZ9RBug
CLaN6ntybV4YlE7jDI9XIOm/tPJULZGLpLolngWVB6qtzn1RjBw1HIqpoXg+9s1g
pLFFinSrEL1fkQR0YZQrJckktPs=
-----END CERTIFICATE-----
"""

# "Hawksbill Root v1 prod", https://www.gstatic.com/cloudhsm/roots/global_1498867200.pem; SHA-256
# 46b5fd351d56a0721ca0afcd1731c0f7b74e3941eb818bfd0ec36e29df0de095.
OWNER: Final = b"""\
-----BEGIN CERTIFICATE-----
MIIDjTCCAnWgAwIBAgIBAzANBgkqhkiG9w0BAQsFADBoMQswCQYDVQQGEwJVUzEL
MAkGA1UECAwCQ0ExFjAUBgNVBAcMDU1vdW50YWluIFZpZXcxEzARBgNVBAoMCkdv
b2dsZSBJbmMxHzAdBgNVBAMMFkhhd2tzYmlsbCBSb290IHYxIHByb2QwHhcNMTcw
NzAxMDAwMDAwWhcNMzAwMTAxMDAwMDAwWjBoMQswCQYDVQQGEwJVUzELMAkGA1UE
CAwCQ0ExFjAUBgNVBAcMDU1vdW50YWluIFZpZXcxEzARBgNVBAoMCkdvb2dsZSBJ
bmMxHzAdBgNVBAMMFkhhd2tzYmlsbCBSb290IHYxIHByb2QwggEiMA0GCSqGSIb3
DQEBAQUAA4IBDwAwggEKAoIBAQCsLqhiiSGgcJLfsI7Dk00mONulol9rHm2obCyD
1lua+AKg+LAW+1zauZu5i028FSbgDk8vtSBDHDF+XsFnqTbIGV7Ctai2lnaQe1UV
TVMWEPBi1diYGceeDrJpJqPz2aXTcIghrGISeyq+IC4z25uQp7G/D8AResKYqYxN
NqcfZlMIk0s6Eh4aPyvCXYtLl9QXD0GDJ6nz4NmC+Fw31B5d5Kg9WXxDZOYC1zU5
9JXbdxxzeC/EJo1k1AHghto/J8edvTIl5NQ0ahOHKoUZzhhDRsVBioFmymVuwaHO
cXTUsHe3NTkNyeLIfoFpsQQ4XcH9kjO67YXTkdCWeNYw/FYZAgMBAAGjQjBAMA8G
A1UdEwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQDAgGGMB0GA1UdDgQWBBQx6FLf4Un4
Ent8budOkXqXdbyorjANBgkqhkiG9w0BAQsFAAOCAQEAjxKOjnr7WYKoD+a+uAld
F8iOwTrHpFLUDS6sqFyx9FLut8Qlmioy/JE9uima7cjeH3U5VBbRcnTglaDiQTac
+JXCIRApEl9N0bDhoVvFeTzRI8nJdMJCWPobNXV3MHpYsgfgzewh4lFUWQghvscF
325VgSEN0a1hgXcnPr05gd+9kTI9zF3r3vyncyYvzYincGX0NQaz1gJW4brm1W+w
TbWVy8Y0o6c1eZm7v8sHoNSg3vIs6JsnQ8bAXK5i2qO/AXZQu25wH1aPQct8QdGw
x2JBsjEjmWpHuBDAXPCesD5cu9UzzDgcpdwmi7Xidl74kj3f/HgrOeimRdOb8lG5
/A==
-----END CERTIFICATE-----
"""

# The emulator's (keycast.emulators.kms.attestations), whose private key is in that file: accepted outside production.
EMULATED_MANUFACTURER: Final = b"""\
-----BEGIN CERTIFICATE-----
MIIDGDCCAgCgAwIBAgIBATANBgkqhkiG9w0BAQsFADBEMRAwDgYDVQQKDAdLZXlj
YXN0MTAwLgYDVQQDDCdDbG91ZCBLTVMgZW11bGF0b3I6IG5vIG1ha2VyIG9mIGFu
eSBIU00wIBcNMjUwMTAxMDAwMDAwWhgPMjA1NTAxMDEwMDAwMDBaMEQxEDAOBgNV
BAoMB0tleWNhc3QxMDAuBgNVBAMMJ0Nsb3VkIEtNUyBlbXVsYXRvcjogbm8gbWFr
ZXIgb2YgYW55IEhTTTCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBAJu9
ywkKFsOl5MEzRoxw3YrRP0Fox4PcdoqzcRcMMdlsgWeIzQ2q2Fs4xnSwuFXXa31I
RpfR1gyEA6BANBUHZDXz0q+Nd4/XdHyZHtON46830d+o0R7lTh/6u4TuQl5V3MZ1
gmxwdx3vd34hu5WaiDT89WDpX6kNydG3Ys3himHpIQ5q7ZLkyqjQjLdiLAgrN4Md
bkRjSvGlUx0ukaaPUpPsqZST1xx7aQ6IIJ//FDWLJgC4yf0Ir62Bn5Shznlz9qXA
f1hHc6u3BAMUIpkFiwJCLV5gTRuybwdAUkT5dC7RhPkEvGO7ZJOfgJ3zHjuRRV6g
fMi9eFU44/Fg7TAD74ECAwEAAaMTMBEwDwYDVR0TAQH/BAUwAwEB/zANBgkqhkiG
9w0BAQsFAAOCAQEAYlxj0nix8ON6HbGlCPQT8lo/28N65ayqOrblk5LIZwkJ6kL+
njINslTDjBUodR7zfYwCtLf8B/FZZR9pjILFISf1Fcp0eZtbDcQLEZ77TYtAqzo9
Ed+JAUhGmgF0n+oZziwWxQzo5wU1xkJiIMYGhWU63tw8ij8GeLYVqN/tZ18+fclC
Zf0uIzkAz5IgA8MkNgRWwXhzuVGBJLoKnSWav/29CqXRk7yKvsKZb25fuuXnMo28
9Ficz62FJ6iZt7UflnSMjbgHNN/17HuuKiQvLN9QDKluYu53BHwuInUl+6Q4TPkv
hw5pR9zmCrkQsi9qjQuiQpl0A0iVUG0yICLR9w==
-----END CERTIFICATE-----
"""
EMULATED_OWNER: Final = b"""\
-----BEGIN CERTIFICATE-----
MIIDGDCCAgCgAwIBAgIBATANBgkqhkiG9w0BAQsFADBEMRAwDgYDVQQKDAdLZXlj
YXN0MTAwLgYDVQQDDCdDbG91ZCBLTVMgZW11bGF0b3I6IG5vIG93bmVyIG9mIGFu
eSBIU00wIBcNMjUwMTAxMDAwMDAwWhgPMjA1NTAxMDEwMDAwMDBaMEQxEDAOBgNV
BAoMB0tleWNhc3QxMDAuBgNVBAMMJ0Nsb3VkIEtNUyBlbXVsYXRvcjogbm8gb3du
ZXIgb2YgYW55IEhTTTCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBAJu9
ywkKFsOl5MEzRoxw3YrRP0Fox4PcdoqzcRcMMdlsgWeIzQ2q2Fs4xnSwuFXXa31I
RpfR1gyEA6BANBUHZDXz0q+Nd4/XdHyZHtON46830d+o0R7lTh/6u4TuQl5V3MZ1
gmxwdx3vd34hu5WaiDT89WDpX6kNydG3Ys3himHpIQ5q7ZLkyqjQjLdiLAgrN4Md
bkRjSvGlUx0ukaaPUpPsqZST1xx7aQ6IIJ//FDWLJgC4yf0Ir62Bn5Shznlz9qXA
f1hHc6u3BAMUIpkFiwJCLV5gTRuybwdAUkT5dC7RhPkEvGO7ZJOfgJ3zHjuRRV6g
fMi9eFU44/Fg7TAD74ECAwEAAaMTMBEwDwYDVR0TAQH/BAUwAwEB/zANBgkqhkiG
9w0BAQsFAAOCAQEAUlK2lgON1TGu6twp60sA7qPLcovI5o52T884VsKAyVVMU+IS
2ibgk5/8Kx44n1c1MmkcytpeKKbWJEf6C3DKeP+alSsdxt4akbt1DX21XpXkJGoA
lLExCtHJfFW8vagtTlLe7X+p3VAGjacH2IZlKo23jU1+W7IZpoIPizwM357udQzh
GJLbtdKUtk0xO+NMBEcvWHi3crCBvRVWM0+K+Ju/gCDRAaogla3dr8Ddxn/UaH2p
K4kYegLoGtVDvEb3145+64lhrobRVuZSrze+0eL8esuzbwkp72uz9L2P8+v4Qh51
eUGSwRrZMjObBmxGuI8hRYUT6V8utWgW/I1++Q==
-----END CERTIFICATE-----
"""


@dataclass(frozen=True, slots=True)
class AttestationRoots:
    """Certificates that chains may begin with."""

    manufacturers: tuple[x509.Certificate, ...]
    owners: tuple[x509.Certificate, ...]

    @classmethod
    def found(cls, folder: Path | None, *, is_production: bool) -> Self:
        """Those of ``manufacturer.pem`` and ``owner.pem`` in the folder, or the ones built in.

        Raises OSError, and ValueError for a file without a certificate.
        """
        makers = (folder / "manufacturer.pem").read_bytes() if folder else MANUFACTURER
        owners = (folder / "owner.pem").read_bytes() if folder else OWNER
        if not is_production:
            makers, owners = makers + EMULATED_MANUFACTURER, owners + EMULATED_OWNER
        return cls(tuple(x509.load_pem_x509_certificates(makers)), tuple(x509.load_pem_x509_certificates(owners)))
