"""Signed notes in files: found, told in words, and noticed when the file was changed."""

import datetime
import sys

import pytest
from PIL import Image

from dfjax.media import credentials


def test_without_the_library_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    assert "pip install 'dfjax[credentials]'" in credentials.of_file("a.jpg")["Content credentials"]


@pytest.fixture
def signed(tmp_path):
    """A picture signed as made by a model, by a certificate of our own."""
    c2pa = pytest.importorskip("c2pa", reason="needs c2pa-python: pip install 'dfjax[credentials]'")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def certificate(subject, issuer, key, issuer_key, root):
        now = datetime.datetime.now(datetime.UTC)
        names = [[x509.NameAttribute(NameOID.COMMON_NAME, each)] for each in (subject, issuer)]
        names = [[*each, x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Studio")] for each in names]
        made = x509.CertificateBuilder().subject_name(x509.Name(names[0])).issuer_name(x509.Name(names[1]))
        made = made.public_key(key.public_key()).serial_number(x509.random_serial_number())
        made = made.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(9))
        made = made.add_extension(x509.BasicConstraints(root, None), True)
        usage = (not root, False, False, False, False, root, root, False, False)
        made = made.add_extension(x509.KeyUsage(*usage), True)
        known = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
        made = made.add_extension(known, False)
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        if not root:
            made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        return made.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    chain = certificate("leaf", "root", keys[1], keys[0], False) + certificate("root", "root", keys[0], keys[0], True)
    words = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    secret = keys[1].private_bytes(*words)
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", chain, secret, None))
    kind = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    actions = {"actions": [{"action": "c2pa.created", "digitalSourceType": kind}]}
    manifest = {
        "claim_generator_info": [{"name": "a painter", "version": "1"}],
        "assertions": [{"label": "c2pa.actions", "data": actions}],
    }
    Image.new("RGB", (64, 64), (9, 99, 9)).save(tmp_path / "plain.jpg")
    with open(tmp_path / "plain.jpg", "rb") as source, open(tmp_path / "signed.jpg", "w+b") as target:
        c2pa.Builder(manifest).sign(signer, "image/jpeg", source, target)
    return tmp_path / "signed.jpg"


def test_a_signed_picture_says_by_whom_and_that_a_model_made_it(signed):
    found = credentials.of_file(signed)
    assert found["Content credentials"].startswith("the signature holds") and found["Made by"] == "a painter"
    assert found["Actions"] == "c2pa.created trainedAlgorithmicMedia" and found["Signed by"].startswith("leaf, Studio")
    assert credentials.of_file(signed.with_name("plain.jpg")) == {"Content credentials": "none (C2PA)"}
    changed = bytearray(signed.read_bytes())
    changed[-40] ^= 1
    signed.write_bytes(changed)
    assert credentials.of_file(signed)["Content credentials"].startswith("BROKEN: assertion.dataHash.mismatch")
    signed.with_name("a.flac").write_bytes(b"nothing")
    assert "holds" not in credentials.of_file(signed.with_name("a.flac"))["Content credentials"]
