"""Certificates are replaced when their files are, and only by a usable pair."""

import ssl
from pathlib import Path

import pytest

from pithead.stratum import metrics
from pithead.stratum.failures import TlsUnusable
from pithead.stratum.tls import Certificates
from tests.support.certificates import Authority

pytestmark = pytest.mark.gate


def failures() -> float:
    return float(metrics.RELOADS_FAILED.labels("main")._value.get())


def test_files_that_did_not_change_are_not_loaded_again(tmp_path: Path) -> None:
    certificates = Certificates("main", Authority(tmp_path).leaf("edge", "localhost"))
    first = certificates.context
    certificates.renew()
    assert certificates.context is first


def test_a_replaced_pair_makes_a_new_context_and_leaves_the_old_one_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificates = Certificates("main", authority.leaf("edge", "localhost"))
    first = certificates.context
    authority.leaf("edge", "localhost")
    certificates.renew()
    second = certificates.context
    assert second is not first
    assert second.minimum_version == ssl.TLSVersion.TLSv1_2
    assert second.verify_mode is ssl.CERT_NONE, "miners show no certificates"


def test_a_half_replaced_pair_is_counted_once_and_taken_when_it_is_whole(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = authority.leaf("edge", "localhost")
    certificates = Certificates("main", files)
    first, before = certificates.context, failures()
    key = files.key.read_bytes()
    authority.leaf("edge", "localhost")
    new_key = files.key.read_bytes()
    files.key.write_bytes(key)
    for _ in range(3):
        certificates.renew()
    assert certificates.context is first
    assert failures() == before + 1
    files.key.write_bytes(new_key)
    certificates.renew()
    assert certificates.context is not first
    assert failures() == before + 1


def test_files_that_vanish_leave_the_pair_of_before(tmp_path: Path) -> None:
    files = Authority(tmp_path).leaf("edge", "localhost")
    certificates = Certificates("main", files)
    first, before = certificates.context, failures()
    files.certificate.rename(tmp_path / "away")
    certificates.renew()
    assert (certificates.context, failures()) == (first, before + 1)
    (tmp_path / "away").rename(files.certificate)
    certificates.renew()
    assert failures() == before + 1


def test_missing_files_at_the_start_are_named_with_the_remedy(tmp_path: Path) -> None:
    files = Authority(tmp_path).leaf("edge", "localhost")
    files.key.unlink()
    with pytest.raises(TlsUnusable, match="No such file") as caught:
        Certificates("main", files)
    assert str(files.key) in str(caught.value)
    assert "must be PEM" in str(caught.value)
