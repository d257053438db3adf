"""A configuration that does not come to rest while files arrive."""

import functools
import json
import random
import signal
from collections import Counter

import yaml
from torture.harness import Ordeal, scaled, until

_SIGNALS = 100
_FILES = 2_000
_TAKEN = "configuration reloaded"
_REFUSED = "the new configuration is refused, the old one stays"


def test_a_storm_of_reloads_while_files_arrive(ordeal: Ordeal) -> None:
    """Roots, rules and subscribers come and go, some configurations are refused: nothing is lost, nothing twice."""
    rng = random.Random(11)  # noqa: S311 - no secret
    heard = ordeal.folder / "heard"
    tell = ["/bin/sh", "-c", f'cat >> "{heard}"; echo >> "{heard}"']
    command = {"kind": "command", "name": "note", "command": tell, "concurrency": 1}
    log = {"kind": "log", "file": str(ordeal.folder / "events.jsonl")}
    second = ordeal.folder / "second"
    second.mkdir()
    ordeal.roots["second"] = second
    ordeal.sections = {"subscribers": [command, {"kind": "log"}]}
    ordeal.configure()
    whole = ordeal.config.read_text()
    ordeal.start()

    def outcomes() -> Counter[str]:
        logged = Counter(line["event"] for line in ordeal.log_lines())
        return Counter({event: logged[event] for event in (_TAKEN, _REFUSED)})

    def has_ended(before: int) -> bool:
        return outcomes().total() > before

    number, files, signals = 0, scaled(_FILES), scaled(_SIGNALS, at_least=5)
    for turn in range(signals):
        settings = yaml.safe_load(whole)
        if rng.random() < 0.5:
            settings["watch"] = settings["watch"][:1]
        settings["watch"][0]["ignore"] = [f"*.never{rng.randrange(3)}"]
        settings["subscribers"] = [command, rng.choice([log, {"kind": "log"}])]
        text = "watch: [{path: 7}]" if turn % 10 == 9 else yaml.safe_dump(settings)
        ordeal.config.write_text(text)
        before = outcomes().total()
        ordeal.signal(signal.SIGHUP)
        while number < files * (turn + 1) // signals:
            folder = (ordeal.root, second)[number % 2] / str(number % 13)
            folder.mkdir(exist_ok=True)
            (folder / f"{number}.bin").write_bytes(b"file %d" % number)
            number += 1
        if rng.random() < 0.7:  # else several signals become one reload
            until(functools.partial(has_ended, before), "an end of the reload")
    ordeal.config.write_text(whole)
    ordeal.signal(signal.SIGHUP)
    ordeal.await_equality()

    def told() -> list[str]:
        lines = heard.read_text().splitlines() if heard.exists() else []
        return [event["data"]["path"] for event in map(json.loads, filter(None, lines))]

    until(lambda: len(set(told())) == files, "every file is told of", 120)
    ordeal.figures |= {
        "signals": signals,
        "reloads": outcomes()[_TAKEN],
        "refused": outcomes()[_REFUSED],
        "told again": len(told()) - files,
    }
    assert ordeal.count("event WHERE event_type = 'file.imported'") == files
    ordeal.finish()
