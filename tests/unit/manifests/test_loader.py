"""Files in, objects or every problem out."""

from pathlib import Path

import pytest

from pithead.manifests import ManifestErrors, load_manifests
from pithead.manifests.loader import FILES_MAX
from pithead.manifests.source import FILE_BYTES_MAX
from tests.unit.manifests.samples import endpoint, pool, put, scheme, text

pytestmark = pytest.mark.gate

ROOT = Path(__file__).resolve().parents[3]


def errors(*paths: Path) -> list[str]:
    with pytest.raises(ManifestErrors) as caught:
        load_manifests(paths)
    return [str(problem) for problem in caught.value.problems]


def test_problem_names_file_line_object_field_and_remedy(tmp_path: Path) -> None:
    file = tmp_path / "pool.yaml"
    file.write_text(
        "# comment\n"
        "apiVersion: pithead.dev/v1alpha1\n"
        "kind: RewardScheme\n"
        "metadata:\n"
        "  name: pplns\n"
        "spec:\n"
        "  method: PPLNS\n"
        "  feePercent: 1.5\n"
    )
    assert errors(file) == [
        (
            f"{file}:8: RewardScheme/pplns: spec.feePercent: YAML reads 1.5 as a number; expected "
            'a percentage below 100: a whole number, or a decimal in quotes such as "1.25": write '
            '"1.5" in quotes'
        )
    ]


def test_all_problems_of_all_files_come_at_once_in_order(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_bytes(text(put(pool(), "spec.coinEndpointRef.name", "gone")))
    (tmp_path / "a.yml").write_bytes(
        text(scheme(), put(endpoint(), "spec.confirmations", 0), put(scheme("x"), "spec.fee", 1))
    )
    (tmp_path / "c.yaml").write_text("a: [\n")
    found = errors(tmp_path)
    places = [each.removeprefix(f"{tmp_path}/").split(": ")[:3] for each in found]
    assert places == [
        ["c.yaml:2", "not YAML", places[0][2]],
        ["a.yml:19", "CoinEndpoint/dev", "spec.confirmations"],
        ["a.yml:31", "RewardScheme/x", "spec.fee"],
        ["b.yaml:7", "MiningPool/alpha", "spec.coinEndpointRef.name"],
    ]


def test_object_that_is_wrong_itself_does_not_leave_references_dangling(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(
        text(pool(), put(endpoint(), "spec.confirmations", 0), put(scheme(), "spec.fee", 1))
    )
    assert [each.split(": ")[2] for each in errors(tmp_path)] == [
        "spec.confirmations",
        "spec.fee",
    ]


def test_directory_is_read_without_its_subdirectories_and_other_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(text(pool(), scheme()))
    (tmp_path / "b.yml").write_bytes(text(endpoint()))
    (tmp_path / "notes.txt").write_text("a: [")
    (tmp_path / "deeper.yaml").mkdir()
    assert [each.metadata.name for each in load_manifests([tmp_path]).pools] == ["alpha"]


def test_file_given_twice_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(text(pool(), scheme(), endpoint()))
    assert len(load_manifests([tmp_path, file, file]).pools) == 1


def test_paths_without_manifests_are_told(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    blank = tmp_path / "blank.yaml"
    blank.write_text("# nothing\n")
    gone = tmp_path / "gone.yaml"
    assert errors(empty) == [f"{empty}: the directory holds no file that ends in .yaml or .yml"]
    assert errors(gone) == [f"{gone}: no such file or directory"]
    assert errors(blank) == [
        "manifests: no manifest is given; expected MiningPool and more of pithead.dev/v1alpha1"
    ]


def test_file_beyond_its_bound_is_not_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    with file.open("wb") as stream:
        stream.truncate(1 << 34)
    assert errors(file) == [f"{file}: larger than {FILE_BYTES_MAX} bytes; split the file"]


def test_number_of_files_is_bounded(tmp_path: Path) -> None:
    for index in range(FILES_MAX + 1):
        (tmp_path / f"{index}.yaml").touch()
    assert f"{FILES_MAX + 1} files are given; at most {FILES_MAX} are read" in errors(tmp_path)[0]


def test_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    loop = tmp_path / "pipe"
    loop.mkdir()
    file = loop / "a.yaml"
    file.symlink_to(tmp_path / "missing")
    assert errors(file) == [f"{file}: no such file or directory"]


@pytest.mark.parametrize("example", sorted(p.name for p in (ROOT / "examples").iterdir()))
def test_every_example_is_valid(example: str) -> None:
    folder = ROOT / "examples" / example
    assert load_manifests([folder, *folder.glob("*.template")]).pools
