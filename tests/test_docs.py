"""What the documentation shows works as it is shown."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from command_line import run_damd
from pictures import make_picture
from PIL import Image, ImageFont
from schemas import faults
from subscribers.receiver import OTHER_SECRET, SECRET, closed_port

from damd.events import EVENTS, json_schema

PROJECT = Path(__file__).parent.parent


def fenced(document: str, language: str) -> list[str]:
    text = (PROJECT / "docs" / document).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def indented(document: str, first_line: str) -> str:
    """The indented block of a document that begins with this line."""
    blocks = re.findall(r"(?:^    .*\n|^\n)+", (PROJECT / document).read_text(), re.MULTILINE)
    [block] = [dedent(block).strip() for block in blocks if dedent(block).strip().startswith(first_line)]
    return block


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder), "XDG_DATA_HOME": str(folder / "data")}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def ingest(folder: Path, *paths: Path) -> list[dict[str, object]]:
    done = run(folder, "-m", "damd", "ingest", *map(str, paths), "--config", "damd.yaml", "--state", "state", "--json")
    assert "Traceback" not in done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def make_font(path: Path) -> Path:
    """The font that Pillow brings along."""
    font = ImageFont.load_default(size=12)
    assert isinstance(font, ImageFont.FreeTypeFont)
    path.write_bytes(font.font_bytes)
    return path


def test_the_family_in_the_guide_to_extending_reads_its_files(tmp_path: Path, migrated: Path) -> None:
    shutil.copytree(migrated, tmp_path / "state")
    plugin, _ = fenced("extending.md", "python")
    configuration, _ = fenced("extending.md", "yaml")
    (tmp_path / "damd_font.py").write_text(plugin)
    (tmp_path / "damd.yaml").write_text(configuration)
    font, broken = make_font(tmp_path / "font.dat"), tmp_path / "broken.dat"
    broken.write_bytes(font.read_bytes()[:200])

    results = {Path(str(each["path"])).name: each for each in ingest(tmp_path, font, broken)}
    assert (results["font.dat"]["status"], results["font.dat"]["family"]) == ("SUCCESS", "font")
    assert (results["broken.dat"]["status"], results["broken.dat"]["reason"]) == ("FAILED", "Not a readable font")

    shown = run(tmp_path, "-m", "damd", "assets", "show", "1", "--config", "damd.yaml", "--state", "state", "--json")
    asset = json.loads(shown.stdout)
    assert asset["components"]["font_properties"] == {"name": "Aileron", "style": "Regular"}
    assert asset["components"]["reader_version"] == {"reader": "font", "version": 1}
    [preview] = asset["previews"]
    with Image.open(preview["path"]) as page:
        assert page.size == (512, 256)
        assert page.convert("L").getextrema() == (0, 255)


def test_the_subscriber_in_the_guide_to_extending_is_an_endpoint(tmp_path: Path, migrated: Path) -> None:
    shutil.copytree(migrated, tmp_path / "state")
    _, plugin = fenced("extending.md", "python")
    _, configuration = fenced("extending.md", "yaml")
    (tmp_path / "damd_diary.py").write_text(plugin)
    (tmp_path / "damd.yaml").write_text(configuration)
    tested = run(tmp_path, "-m", "damd", "webhooks", "test", "mine", "--config", "damd.yaml", "--state", "state")
    assert (tested.returncode, "Traceback" in tested.stderr) == (0, False), tested.stderr
    assert (tmp_path / "diary.txt").read_text().endswith(" webhook.test\n")


def test_the_plugin_in_the_readme_hears_of_imports(tmp_path: Path, migrated: Path) -> None:
    shutil.copytree(migrated, tmp_path / "state")
    (tmp_path / "teller.py").write_text(indented("README.md", "from damd.events import FileImportedEvent"))
    (tmp_path / "damd.yaml").write_text("plugins: [teller]\n")
    picture = make_picture(tmp_path / "picture.jpg")

    done = run(tmp_path, "-m", "damd", "ingest", str(picture), "--config", "damd.yaml", "--state", "state")
    assert done.stdout == f"{picture} is asset 1\n"


def test_the_command_in_the_readme_counts_assets(tmp_path: Path) -> None:
    command = indented("README.md", "from dataclasses import dataclass")
    program = indented("README.md", "import sys")
    program = program.replace(
        "print(result.one())",
        "world.register_system(count_assets)\n"
        "        print((await world.dispatch_command(CountAssetsCommand())).one(), result.one().status)",
    )
    picture = make_picture(tmp_path / "picture.jpg")
    (tmp_path / "program.py").write_text(f"{command}\n\n{program}\n")

    done = run(tmp_path, "program.py", str(picture))
    assert (done.stdout, done.stderr) == ("1 SUCCESS\n", "")


def test_the_configuration_in_the_readme_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "damd.yaml").write_text(indented("README.md", "watch:"))
    done = run_damd("config", "show", "--config", tmp_path / "damd.yaml")
    assert done.code == 0, done.err
    assert "https://gallery.example/hooks/damd" in done.out


def test_the_receiver_of_webhooks_verifies_what_it_is_sent(tmp_path: Path) -> None:
    [receiver] = fenced("webhooks.md", "python")
    assert len([line for line in receiver.splitlines() if line.strip()]) <= 20
    with closed_port() as port:
        pass
    (tmp_path / "receiver.py").write_text(receiver.replace("8000", str(port)))
    (tmp_path / "gallery.secret").touch(0o600)
    (tmp_path / "gallery.secret").write_text(f"{SECRET}\n")
    webhook = {"kind": "webhook", "name": "gallery", "url": f"http://127.0.0.1:{port}/"}
    webhooks = [webhook | {"secret": {"file": str(tmp_path / name)}} for name in ("gallery.secret", "other.secret")]
    webhooks[1]["name"] = "stranger"
    (tmp_path / "other.secret").touch(0o600)
    (tmp_path / "other.secret").write_text(f"{OTHER_SECRET}\n")
    (tmp_path / "damd.yaml").write_text(json.dumps({"subscribers": webhooks}))
    options = ("--config", tmp_path / "damd.yaml", "--state", tmp_path / "state")

    command = [sys.executable, "-u", "receiver.py"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as serving:
        try:
            while "refused" in (told := run_damd("webhooks", "test", "gallery", *options)).err:
                assert serving.poll() is None
            assert told.code == 0, told.err
            assert "401" in run_damd("webhooks", "test", "stranger", *options).err
        finally:
            serving.terminate()
        assert serving.stdout is not None
        [line] = serving.stdout.read().splitlines()
    assert re.fullmatch(r"evt_test_\w+ webhook\.test ", line)


def test_every_event_is_documented_with_an_example_that_meets_its_schema() -> None:
    examples = [json.loads(block) for block in fenced("events.md", "json")]
    assert [example["type"] for example in examples] == list(EVENTS)
    for example in examples:
        assert list(faults(example, json_schema(EVENTS[example["type"]]))) == []
    sections = re.findall(r"^## `([a-z_.]+)`$", (PROJECT / "docs" / "events.md").read_text(), re.MULTILINE)
    assert sections == list(EVENTS)
