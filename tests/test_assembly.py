"""The composition root: what an opened World has, and what is left when it is left."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType

import anyio
import pytest
from pictures import make_picture
from sqlalchemy.pool import QueuePool

from damd import thumbnails as previews
from damd.assembly import open_world, register_systems
from damd.catalogue.roots import Place, Roots
from damd.catalogue.store import Catalogue
from damd.config import Config
from damd.errors import CatalogueError, ConfigurationError, NoHandlerError, RegistrationError
from damd.ingest.ingest_file import IngestFileCommand
from damd.ingest.policy import RootPolicies
from damd.media.base import Families
from damd.mounts import Mounts
from damd.sandbox import Sandbox
from damd.thumbnails import Thumbnails
from damd.world import World

pytestmark = pytest.mark.anyio
OpenWorld = Callable[..., Awaitable[World]]


async def test_an_opened_world_has_every_resource_and_no_systems(tmp_path: Path) -> None:
    config = Config(state=tmp_path / "new" / "state")
    async with open_world(config) as world:
        for resource in (Config, Catalogue, Mounts, Roots, RootPolicies, Sandbox, Thumbnails, Families):
            assert isinstance(world.get_resource(resource), resource)
        assert world.get_resource(Config) is config
        assert world.get_resource(Thumbnails).folder == config.state / "previews"
        with pytest.raises(NoHandlerError):
            await world.dispatch_command(IngestFileCommand(file_path=tmp_path))
    assert sorted(path.name for path in config.state.iterdir()) == ["catalogue.sqlite3", "previews"]


async def test_registering_the_systems_twice_is_an_error_that_says_so(opened: OpenWorld) -> None:
    world = await opened()
    with pytest.raises(RegistrationError, match="already registered"):
        register_systems(world)


async def test_leaving_ends_the_workers_and_closes_the_catalogue(tmp_path: Path) -> None:
    async with open_world(Config(state=tmp_path / "state")) as world:
        register_systems(world)
        before = children()
        result = await world.dispatch_command(IngestFileCommand(file_path=make_picture(tmp_path / "a.jpg")))
        assert result.one().status == "SUCCESS"
        workers = children() - before
        engine = world.get_resource(Catalogue).engine
    assert not workers & children()
    assert isinstance(engine.pool, QueuePool)
    assert engine.pool.checkedout() + engine.pool.checkedin() == 0
    assert previews._in_use == []


async def test_leaving_closes_the_table_of_mounts(tmp_path: Path) -> None:
    async with open_world(Config(state=tmp_path / "state")) as world:
        mounts = world.get_resource(Mounts)
        version = mounts.version
        assert world.get_resource(Roots).volume_of(Place("", b"/a")) is None
    assert mounts._file is None
    assert version == (sys.platform == "linux")


async def test_a_root_says_whether_links_are_followed_in_it(tmp_path: Path) -> None:
    watch = [{"path": tmp_path / "one", "follow_symlinks": True}, {"path": tmp_path / "other"}]
    async with open_world(Config.model_validate({"state": tmp_path / "state", "watch": watch})) as world:
        for name, follows in (("one", True), ("other", False), ("", False)):
            assert world.get_resource(Roots).follows(name) is follows
            assert world.get_resource(RootPolicies).of(name).follow_symlinks is follows


def children() -> set[str]:
    tasks = Path("/proc/self/task").glob("*/children")
    return {pid for task in tasks for pid in task.read_text().split()}


async def test_leaving_with_an_error_closes_everything_and_the_error_arrives_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_world(Config(state=tmp_path / "state")):
            raise ZeroDivisionError
    assert previews._in_use == []


async def test_two_worlds_can_share_a_state(opened: OpenWorld, tmp_path: Path) -> None:
    one, other = await opened(), await opened()
    path = make_picture(tmp_path / "a.jpg")
    first = (await one.dispatch_command(IngestFileCommand(file_path=path))).one()
    second = (await other.dispatch_command(IngestFileCommand(file_path=path))).one()
    assert (first.status, second.reason) == ("SUCCESS", "Path already imported")
    assert second.asset_id == first.asset_id


async def test_worlds_that_are_opened_at_the_same_moment_find_one_schema(tmp_path: Path) -> None:
    watched = {"path": tmp_path / "inbox"}

    async def open_one() -> None:
        async with open_world(Config.model_validate({"state": tmp_path / "state", "watch": [watched]})) as world:
            assert world.get_resource(Roots).folder("inbox")

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(open_one)


@pytest.mark.parametrize("content", [None, b"no database, and long enough to be looked at" * 100])
async def test_a_catalogue_that_cannot_be_opened_says_why_and_leaves_nothing_open(
    tmp_path: Path, content: bytes | None
) -> None:
    state = tmp_path / "state"
    if content is None:
        state.touch()
    else:
        state.mkdir()
        (state / "catalogue.sqlite3").write_bytes(content)
    with pytest.raises(CatalogueError, match=str(state)):
        async with open_world(Config(state=state)):
            pytest.fail("it opened")
    assert previews._in_use == []


async def test_a_place_of_previews_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "previews").touch()
    with pytest.raises(OSError, match="previews"):
        async with open_world(Config(state=tmp_path / "state")):
            pytest.fail("it opened")
    assert previews._in_use == []


async def test_roots_are_known_by_name_also_to_who_does_not_configure_them(opened: OpenWorld, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (tmp_path / "way").symlink_to(inbox)
    first = await opened(watch=({"path": tmp_path / "way", "name": "in"},))
    second = await opened()
    for world in (first, second):
        roots = world.get_resource(Roots)
        assert roots.place(inbox / "a.jpg") == Place("in", b"a.jpg")
        assert roots.folder("in") == os.fsencode(inbox)


def make_module(name: str, text: str) -> ModuleType:
    module = ModuleType(name)
    exec(textwrap.dedent(text), vars(module))  # noqa: S102 - a plugin's text
    return module


async def test_a_plugin_whose_setup_fails_stops_the_start_and_is_named(
    opened: OpenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = make_module("broken_plugin", "def setup(world):\n    raise LookupError('a part is missing')")
    monkeypatch.setitem(sys.modules, broken.__name__, broken)
    with pytest.raises(
        ConfigurationError, match=r"broken_plugin failed \(<string>:2: LookupError: a part is missing\)"
    ):
        await opened(plugins=("broken_plugin",))


async def test_plugins_are_set_up_after_damds_own_systems_in_their_order(
    opened: OpenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        text = f"""
            from damd.world import World
            from damd.ingest.ingest_file import IngestFileCommand

            def setup(world: World) -> None:
                world.register_system(add, command_type=IngestFileCommand)

            def add(cmd: IngestFileCommand) -> int:
                return {number}
        """
        monkeypatch.setitem(sys.modules, f"plugin_{number}", make_module(f"plugin_{number}", text))
    world = await opened(plugins=("plugin_1", "plugin_2"))
    results = (await world.dispatch_command(IngestFileCommand(file_path=Path("nowhere")))).results
    assert (results[0].status, results[1:]) == ("FAILED", [1, 2])


TABLES = """
    import sys
    from pathlib import Path

    import anyio
    import sqlalchemy

    from damd.assembly import open_world
    from damd.catalogue.store import Catalogue
    from damd.config import Config

    async def main() -> None:
        async with open_world(Config(state=Path(sys.argv[1]), plugins=("font_plugin",))) as world:
            engine = world.get_resource(Catalogue).engine
            print("font" in sqlalchemy.inspect(engine).get_table_names())

    anyio.run(main)
"""


def test_a_plugins_tables_are_made_with_ours_also_where_no_file_names_it(tmp_path: Path) -> None:
    (tmp_path / "font_plugin.py").write_text(
        textwrap.dedent("""
            from damd.catalogue.tables import Component

            class Font(Component, table=True):
                __tablename__ = "font"
                glyphs: int

            def setup(world):
                pass
        """)
    )
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(TABLES))
    done = subprocess.run([sys.executable, script, tmp_path / "state"], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("True", "")
