import os
import stat

import pytest

from kd_lab.errors import UserError
from kd_lab.outside import paths
from kd_lab.outside.paths import is_own_folder, is_own_rescue, make_own_folder, put_whole, read_text, regular

RUN = "a" * 32


@pytest.fixture
def rescue(tmp_path):
    folder = tmp_path / "kd_lab_rescue" / RUN
    folder.mkdir(parents=True)
    return folder


def test_is_own_rescue__a_folder_of_ones_own(rescue):
    assert is_own_rescue(rescue)


def test_is_own_rescue__of_somebody_else(rescue, monkeypatch):
    monkeypatch.setattr(paths, "_user", lambda _: os.getuid() + 1)
    assert not is_own_rescue(rescue)


def test_is_own_rescue__elsewhere_or_a_link(tmp_path, rescue):
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "named" / RUN).mkdir(parents=True)
    (rescue.parent / ("b" * 32)).symlink_to(other)
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone" / "kd_lab_rescue").symlink_to(rescue.parent)
    for folder in (
        other,
        tmp_path / "named" / RUN,
        rescue.parent / ("b" * 32),
        rescue.parent / "..",
        rescue.parent / ("c" * 32),
        tmp_path / "clone" / "kd_lab_rescue" / RUN,
    ):
        assert not is_own_rescue(folder), folder
    assert not is_own_folder(tmp_path / "clone" / "kd_lab_rescue")


def test_make_own_folder__for_this_user_alone(tmp_path):
    folder = tmp_path / "kd_lab_rescue" / RUN
    make_own_folder(folder)
    make_own_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("which", ["root", "run"])
def test_make_own_folder__a_link__user_error(tmp_path, which):
    victim = tmp_path / "victim"
    victim.mkdir()
    root = tmp_path / "kd_lab_rescue"
    if which == "root":
        root.symlink_to(victim)
    else:
        root.mkdir()
        (root / RUN).symlink_to(victim)
    with pytest.raises(UserError, match="is a link"):
        make_own_folder(root / RUN)
    assert list(victim.iterdir()) == []


@pytest.mark.parametrize(
    "inside", ["../secret", "a/../../secret", "/etc/passwd", "", "..", "link", "folder/link", "way/x", "folder"]
)
def test_regular__leads_elsewhere__user_error(tmp_path, inside):
    root = tmp_path / "artifacts"
    (root / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "x").write_text("secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "folder" / "link").symlink_to("../../secret")
    (root / "way").symlink_to(tmp_path)
    with pytest.raises(UserError, match=r"leads out of|is a link|expected a file"):
        regular(root, inside)


def test_regular__a_file_of_its_own(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("w")
    assert regular(tmp_path, "model/weights") == tmp_path / "model" / "weights"
    with pytest.raises(FileNotFoundError):
        regular(tmp_path, "model/none")


def test_read_text__a_pipe_a_link_or_too_much__error_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("12345")
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(OSError, match="no file"):
        read_text(tmp_path / "pipe")
    with pytest.raises(OSError, match="symbolic link"):
        read_text(tmp_path / "link")
    with pytest.raises(ValueError, match="5 bytes, expected at most 4"):
        read_text(tmp_path / "file", 4)
    assert read_text(tmp_path / "file", 5) == "12345"


def test_put_whole__the_content_and_nothing_beside(tmp_path):
    file = tmp_path / "cache" / "kept"
    assert put_whole(file, lambda path: path.write_text("one"))
    assert put_whole(file, lambda path: path.write_text("two"))
    assert file.read_text() == "two"
    assert [path.name for path in file.parent.iterdir()] == ["kept"]


def test_put_whole__interrupted__what_was_there_stays(tmp_path):
    (tmp_path / "kept").write_text("one")

    def interrupted(path):
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        put_whole(tmp_path / "kept", interrupted)
    assert (tmp_path / "kept").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_put_whole__where_no_folder_can_be__costs_nothing(tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert not put_whole(tmp_path / "cache" / "kept", lambda path: path.write_text("one"))
